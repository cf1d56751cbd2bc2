"""Clients that run oracle jobs and write down what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from time import monotonic
from typing import Any, Final

import numpy as np
from chaos.ledger import Call, Ledger
from chaos.oracle import LARGEST_BYTES, SMALLEST_BYTES, OracleJob, job_of

import arraymill as am

CONNECT_SECONDS: Final = 30.0
"""More than a server takes that is started anew on a busy machine."""

KEPT_SECONDS: Final = 60.0
"""Time to live of results: those of a client that has given up must not keep the others out for an hour."""


class Way(StrEnum):
    """How a job is run."""

    COMPUTE = "compute"
    SUBMIT = "submit"
    """By key: submitted again after every failure that passes, results fetched and deleted."""
    BOTH = "both"
    """In turn."""


@dataclass(frozen=True, slots=True)
class Load:
    """Some jobs.

    Attributes:
        seed: Of the inputs.
        timeout: Seconds for each job.
        largest: Bytes of the largest input.
        smallest: Bytes of the smallest.
        way: How they are run.
        in_flight: How many at once.
        expects: An error with which a job may end.
    """

    seed: int
    timeout: float = 120.0
    largest: int = LARGEST_BYTES
    smallest: int = SMALLEST_BYTES
    way: Way = Way.BOTH
    in_flight: int = 64
    expects: type[Exception] | None = None

    async def run(self, mill: am.AsyncClient, numbers: Iterable[int], ledger: Ledger) -> None:
        """Run jobs, some at once."""
        slots = asyncio.Semaphore(self.in_flight)

        async def one(number: int) -> None:
            async with slots:
                await self.run_one(mill, number, ledger)

        await asyncio.gather(*map(one, numbers))

    async def run_one(self, mill: am.AsyncClient, number: int, ledger: Ledger) -> None:
        """Run one job; whatever comes of it stands in the ledger."""
        job = await asyncio.to_thread(job_of, self.seed, number, self.largest, self.smallest)
        is_submitted = self.way is Way.SUBMIT or (self.way is Way.BOTH and number % 2 == 1)
        run = _run_submitted if is_submitted else _run_computed
        key = job.key if is_submitted else ""
        options: Any = {"timeout": self.timeout, "key": key, "nbytes": job.x.nbytes, "expects": self.expects}
        with ledger.call(f"{job.kind} of {job.x.shape}", **options) as call:
            answer = await run(mill, job, call)
            call.check(await asyncio.to_thread(job.is_right, answer))

    async def run_steadily(
        self, client: Callable[[], am.AsyncClient], clients: int, ledger: Ledger, over: asyncio.Event, *, first: int = 0
    ) -> None:
        """Run jobs through some clients, each always `in_flight` at once, until it is over.

        Args:
            client: Makes a client.
            clients: How many.
            ledger: Theirs.
            over: Set when no more are to begin.
            first: Number of the first job.
        """
        numbers = count(first)

        async def hand(mill: am.AsyncClient) -> None:
            while not over.is_set():
                await self.run_one(mill, next(numbers), ledger)

        async def one() -> None:
            async with client() as mill:
                await asyncio.gather(*(hand(mill) for _ in range(self.in_flight)))

        await asyncio.gather(*(one() for _ in range(clients)))


async def _run_computed(mill: am.AsyncClient, job: OracleJob, call: Call) -> Any:
    return await mill.compute(job.expression, timeout=call.timeout)


async def _run_submitted(mill: am.AsyncClient, job: OracleJob, call: Call) -> Any:
    """Submit by key and fetch the result; begin anew with a server that has forgotten the job.

    Raises:
        ArraymillError: What the job failed with, or DeadlineError.
    """
    end = call.begin + call.timeout
    while True:
        try:
            left = max(end - monotonic(), 0.001)
            submitted = await mill.submit(job.expression, key=job.key, deadline=left, ttl=KEPT_SECONDS, timeout=left)
            answer = await submitted.result(max(end - monotonic(), 0.001))
        except (am.JobNotFoundError, am.ResultExpiredError):
            call.again += 1
            continue
        with suppress(am.ArraymillError):  # it stays a while longer
            await submitted.delete(timeout=1.0)
        return answer


class Bystander:
    """A client that has nothing to do with the fault: a small job and a question, again and again.

    Args:
        address: Of the server, past any proxy.
        ledger: Its own.
        pause: Seconds between two calls.
        retry_for: Seconds for which it tries again what failed, and that a call may take.
    """

    def __init__(self, address: str, ledger: Ledger, *, pause: float = 0.1, retry_for: float = 30.0) -> None:
        self._address = address
        self._ledger = ledger
        self._pause = pause
        self._timeout = retry_for

    async def run(self) -> None:
        """Go on until cancelled."""
        x = np.arange(1000.0)
        client = am.AsyncClient(self._address, connect_timeout=CONNECT_SECONDS, retry_for=self._timeout)
        async with client as mill:
            while True:
                with self._call("bystander: sum") as call:
                    call.check(await mill.sum(x, timeout=self._timeout) == x.sum())
                with self._call("bystander: info"):
                    await mill.info(timeout=self._timeout)
                await asyncio.sleep(self._pause)

    def _call(self, what: str) -> Any:
        return self._ledger.call(what, timeout=self._timeout)


def latencies(calls: Iterable[Call]) -> list[float]:
    """Return the seconds of calls that have ended."""
    return [call.seconds for call in calls if call.end is not None]
