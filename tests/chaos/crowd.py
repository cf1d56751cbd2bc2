"""Processes that send jobs at a fixed rate, whatever becomes of those before, and give up when a server is busy.

    async with Crowd(address, folder, work, 4) as crowd:
        begin = await crowd.wave(100.0, 10.0)     # 1,000 jobs; returns when all have ended
    calls = crowd.calls()

Each is `python -m chaos.crowd ADDRESS LEDGER ARRAY STEPS KNOWN`; a line of its stdin is a wave (begin, jobs per second,
seconds), and each of its stdout says that it is ready for the next one.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Final, Self

from chaos.ledger import Call, Ledger, read_calls
from chaos.work import Work

import arraymill as am

DEADLINE: Final = 20.0
"""Seconds for a job: nobody waits for ever. The server does what it takes in half of it."""

HEAD_SECONDS: Final = 0.05
"""From the word to the begin of a wave, so that all begin together."""


class Crowd:
    """Some of these processes.

    Args:
        address: Of the server.
        folder: Where their ledgers get a folder of their own.
        work: What they send.
        processes: How many.
    """

    def __init__(self, address: str, folder: Path, work: Work, processes: int) -> None:
        self._address = address
        own = Path(mkdtemp(prefix="crowd-", dir=folder))
        self._ledgers = [own / str(number) for number in range(processes)]
        self._work = work
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        try:
            self._processes += await asyncio.gather(*map(self._start, self._ledgers))
            await self._ready()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def wave(self, rate: float, seconds: float) -> float:
        """Send jobs, so many per second from all together; return when it began, when all have ended."""
        begin = monotonic() + HEAD_SECONDS
        each = rate / len(self._processes)
        for number, process in enumerate(self._processes):
            assert process.stdin is not None
            process.stdin.write(f"{begin + number / rate} {each} {seconds}\n".encode())
        await self._ready()
        return begin

    def calls(self) -> Iterator[Call]:
        """Return what came of all jobs."""
        for ledger in self._ledgers:
            yield from read_calls(ledger)

    async def _start(self, ledger: Path) -> Process:
        command = [sys.executable, "-m", "chaos.crowd", self._address, str(ledger), *self._work.words]
        return await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[1], stdin=PIPE, stdout=PIPE)

    async def _ready(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            if not await process.stdout.readline():
                raise RuntimeError(f"a process of the crowd has ended with {await process.wait()}")

    async def _end(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def main(address: str, path: str, *words: str) -> None:
    """Send what stdin says, until it ends."""
    with Ledger(Path(path)) as ledger:
        async with am.AsyncClient(address, connect_timeout=DEADLINE, retry_for=0, shared=False) as mill:
            work = await Work.told(mill, *words)
            print("ready", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                begin, rate, seconds = map(float, line.split())
                await work.run_at(
                    rate,
                    seconds,
                    mill,
                    ledger,
                    begin=begin,
                    timeout=DEADLINE,
                    expects=(am.BusyError, am.DeadlineError),
                )
                print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
