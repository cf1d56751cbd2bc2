"""The generators, as the load tester sees them: processes of their own, started anew and never forked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from arraymill._text.errors import InputError
from arraymill.load._generator import LINE_BYTES
from arraymill.load._plan import Plan
from arraymill_proto import errors
from arraymill_proto.errors import ArraymillError

END_SECONDS: Final = 10.0
"""What a generator gets to close its connections."""

STOP_SECONDS: Final = 10.0
"""What a generator gets to tell its result after a stop: it waits for answers of the server for a second."""

News = Callable[[Mapping[str, Any]], None]
"""Takes what a generator tells of some seconds."""


class GeneratorError(ArraymillError):
    """A generator has ended by itself, for example because the machine has no memory left."""


class _Member:
    """One generator."""

    def __init__(self, process: Process, on_news: News) -> None:
        self._process = process
        self._on_news = on_news
        self.has_answered = True
        """Nothing is awaited of it."""
        self._answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.ensure_future(self._read())

    def say(self, what: dict[str, Any]) -> None:
        """Tell it what to do."""
        assert self._process.stdin is not None
        with suppress(OSError, RuntimeError):  # it has ended: that is noticed where its answer is awaited
            self._process.stdin.write(f"{json.dumps(what)}\n".encode())

    def kill(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def asked(self, what: dict[str, Any]) -> dict[str, Any]:
        """Tell it what to do, and wait for its answer.

        Raises:
            GeneratorError: It has ended.
        """
        self.say(what)
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        """Wait for its next answer.

        Raises:
            GeneratorError: It has ended.
        """
        self.has_answered = False
        told = await self._answer
        self.has_answered = True
        self._answer = asyncio.get_running_loop().create_future()
        return told

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # a line that is too long, or is none of a generator
            while line := await self._process.stdout.readline():
                told = json.loads(line)
                if told["is"] == "news":
                    self._on_news(told)
                elif not self._answer.done():
                    self._answer.set_result(told)
        self.kill()
        code = await self._process.wait()
        if not self._answer.done():
            text = f"a generator process has ended with {code}; was it out of memory? Fewer or smaller arrays need less"
            self._answer.set_exception(GeneratorError(text))
            self._answer.exception()  # nobody may be waiting any more

    async def close(self) -> None:
        """End it, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


class Fleet:
    """All generators of a run: see `fleet`."""

    def __init__(self, members: list[_Member]) -> None:
        self._members = members
        self.is_whole = True
        """Whether no generator has ended by itself, or had to be ended."""
        self._killing: asyncio.TimerHandle | None = None

    async def prepare(self, plan: Plan, address: str) -> None:
        """Let all make their arrays, and connect.

        Raises:
            ArraymillError: One cannot connect.
            InputError: One cannot make its arrays.
        """
        told = {"do": "prepare", "plan": plan.document(), "address": address, "of": len(self._members)}
        answers = await asyncio.gather(
            *(member.asked({**told, "place": place}) for place, member in enumerate(self._members))
        )
        for answer in answers:
            if answer["is"] == "failed":
                kind = getattr(errors, answer["kind"], None)
                raise (kind or InputError)(answer["error"])

    async def step(self, number: int, begin: float, warm_up: float, rate: float | None) -> list[dict[str, Any]]:
        """Let all do one step, and return their results.

        A generator that ends stops the others: `is_whole` is False, and the results are those of the others.
        """
        told = {"do": "step", "number": number, "begin": begin, "warm_up": warm_up, "rate": rate}
        for member in self._members:
            member.say(told)  # now, so that a stop cannot come before it
        answers = [asyncio.ensure_future(member.answer()) for member in self._members]
        try:
            await asyncio.wait(answers, return_when=asyncio.FIRST_EXCEPTION)
            if not all(answer.done() for answer in answers):
                self.stop()
            await asyncio.wait(answers)
        finally:
            for answer in answers:
                answer.cancel()
            if self._killing is not None:
                self._killing.cancel()
                self._killing = None
        results = [answer.result()["result"] for answer in answers if answer.exception() is None]
        self.is_whole = len(results) == len(answers)
        return results

    def stop(self) -> None:
        """End the step now; `step` returns what was measured, without generators that do not answer in time."""
        for member in self._members:
            member.say({"do": "stop"})
        if self._killing is None:
            self._killing = asyncio.get_running_loop().call_later(STOP_SECONDS, self._kill)

    def _kill(self) -> None:
        """End those that have not answered."""
        for member in self._members:
            if not member.has_answered:
                member.kill()

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(member.close() for member in self._members))


@asynccontextmanager
async def fleet(processes: int, on_news: News) -> AsyncGenerator[Fleet]:
    """Start generators; they end with the block."""
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    members = list[_Member]()
    running = Fleet(members)
    try:
        for _ in range(processes):
            # -u: nothing may wait in a buffer. A session of its own: Ctrl-C of a terminal goes to the load tester only.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", "-m", "arraymill.load._generator"),
                stdin=PIPE,
                stdout=PIPE,
                env=environment,
                limit=LINE_BYTES,
                start_new_session=True,
            )
            members.append(_Member(process, on_news))
        yield running
    finally:
        await running.close()
