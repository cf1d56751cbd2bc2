"""One generator: a process of its own that does what the load tester says, line by line.

Lines of JSON come on stdin and go on stdout:

    {"do": "prepare", "plan": {…}, "address": "…", "place": 0, "of": 2}     {"is": "ready"}, or {"is": "failed", …}
    {"do": "step", "begin": 123.4, …}                {"is": "news", …} twice a second, at last {"is": "done", …}
    {"do": "stop"}                                   ends the step

It ends with its stdin, so that none outlives the load tester.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from time import process_time
from typing import Any, Final

from arraymill._text.errors import InputError
from arraymill.load._clients import LoadClient, connect_all
from arraymill.load._drive import Drive, Order
from arraymill.load._loop import precise_loop
from arraymill.load._plan import Plan, read_plan
from arraymill.load._schedule import Arrival, Share
from arraymill.load._work import Work, prepare
from arraymill_proto.errors import ArraymillError

NEWS_SECONDS: Final = 0.5
"""How often news are told."""

LINE_BYTES: Final = 64 << 20
"""Longest line: news of a second take some KB, those of a stalled server a few for each second that waited."""


class Generator:
    """What a generator holds between steps."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._share = Share(0, 1)
        self._clients: Sequence[LoadClient] = ()
        self._works: Sequence[Work] = ()
        self._drive: Drive | None = None
        self._step: asyncio.Task[None] | None = None

    async def follow(self, lines: asyncio.StreamReader) -> None:
        """Do what the lines say, until there are no more."""
        try:
            while line := await lines.readline():
                told = json.loads(line)
                match told.pop("do"):
                    case "prepare":
                        await self._prepare(**told)
                    case "step":
                        self._begin(**told)
                    case _:
                        if self._drive is not None:
                            self._drive.stop()
        finally:
            if self._step is not None:
                self._step.cancel()
                await asyncio.gather(self._step, return_exceptions=True)
            await asyncio.gather(*(client.close() for client in self._clients), return_exceptions=True)

    async def _prepare(self, *, plan: dict[str, Any], address: str, place: int, of: int) -> None:
        """Make arrays and answers, and connect."""
        self._plan = read_plan(plan, {})
        self._share = Share(place, of)
        transports = {entry.transport for entry in self._plan.mix}
        try:
            self._works = [
                prepare(entry, seed=self._plan.seed, is_checked=self._plan.check > 0) for entry in self._plan.mix
            ]
            self._clients = [LoadClient(address, transports) for _ in range(self._share.part(self._plan.clients))]
            await connect_all(self._clients)
        except (ArraymillError, InputError, OSError, MemoryError) as exc:
            tell({"is": "failed", "kind": type(exc).__name__, "error": str(exc)})
        else:
            tell({"is": "ready"})

    def _begin(self, *, number: int, begin: float, warm_up: float, rate: float | None) -> None:
        """Begin a step. It can be stopped from now on: the stop may be the next line."""
        plan, share = self._plan, self._share
        assert plan is not None
        order = Order(
            begin=begin,
            warm_up=warm_up,
            seconds=plan.duration if plan.count is None else None,
            count=None if plan.count is None else share.part(plan.count),
            rate=rate,
            arrival=Arrival(plan.arrival),
            in_flight=plan.in_flight,
            timeout=plan.timeout,
            check=plan.check,
            share=share,
            seed=share.seed(plan.seed, number),
        )
        self._drive = Drive(order, self._clients, self._works, [entry.weight for entry in plan.mix])
        self._step = asyncio.ensure_future(_run(self._drive, number))
        self._step.add_done_callback(_end_with)


async def _run(drive: Drive, number: int) -> None:
    """Do one step, and tell of it."""
    telling = asyncio.ensure_future(_tell_news(drive, number))
    cpu, wall = process_time(), asyncio.get_running_loop().time()
    try:
        await drive.run()
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    share_of_cpu = (process_time() - cpu) / max(asyncio.get_running_loop().time() - wall, 1e-9)
    tell({"is": "news", "number": number, "seconds": drive.tally.news()})
    told = {**drive.tally.result(), "cpu_share": share_of_cpu, "was_full": drive.was_full}
    tell({"is": "done", "number": number, "result": told})


def _end_with(step: asyncio.Task[None]) -> None:
    """End the process when a step has failed, which is a defect: the load tester notices, and stderr has the reason."""
    if not step.cancelled() and (error := step.exception()) is not None:
        traceback.print_exception(error)
        os._exit(1)


async def _tell_news(drive: Drive, number: int) -> None:
    while True:
        await asyncio.sleep(NEWS_SECONDS)
        tell({"is": "news", "number": number, "seconds": drive.tally.news()})


def tell(what: dict[str, Any]) -> None:
    """Write a line to the load tester."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


async def main() -> None:
    """Follow what comes on stdin."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await Generator().follow(lines)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the load tester, which says when to stop
    with suppress(BrokenPipeError), asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(main())
