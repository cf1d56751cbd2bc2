"""A job that costs a client little, and begins of it at a fixed rate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final, Self, TypeAlias, cast

import numpy as np
from chaos.ledger import Ledger
from numpy.typing import NDArray

import arraymill as am

BYTES: Final = 4 << 20
"""One block: a worker has a whole job."""

TIMEOUT: Final = 60.0

Errors: TypeAlias = type[Exception] | tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Sines in a row, some 8 ms each, of an array on the server; the same bits must come each time."""

    array: am.Handle
    steps: int
    known: float
    expression: am.Array

    @classmethod
    async def put(cls, mill: am.AsyncClient, seed: int, steps: int) -> Self:
        """Put an array on the server, and compute the answer once."""
        x: NDArray[np.float64] = np.random.Generator(np.random.Philox(key=seed)).random(BYTES // 8)
        array = await mill.put(x)
        expression = _sines(array, steps)
        return cls(array, steps, float(await mill.compute(expression)), expression)

    @classmethod
    async def told(cls, mill: am.AsyncClient, array: str, steps: str, known: str) -> Self:
        """Return the work of which another process has said the `words`."""
        handle = await mill.array(array)
        return cls(handle, int(steps), float.fromhex(known), _sines(handle, int(steps)))

    @property
    def words(self) -> tuple[str, ...]:
        """What another process must be told."""
        return self.array.id, str(self.steps), self.known.hex()

    async def run(
        self,
        mill: am.AsyncClient,
        ledger: Ledger,
        *,
        begin: float | None = None,
        timeout: float = TIMEOUT,
        expects: Errors | None = None,
    ) -> None:
        """Run one job."""
        with ledger.call("sines", timeout=timeout, begin=begin, nbytes=BYTES, expects=expects) as call:
            call.check(await mill.compute(self.expression, timeout=timeout) == self.known)

    async def run_at(
        self,
        rate: float,
        seconds: float,
        mill: am.AsyncClient,
        ledger: Ledger,
        *,
        begin: float | None = None,
        timeout: float = TIMEOUT,
        expects: Errors = am.BusyError,
    ) -> None:
        """Begin jobs at a rate, whatever becomes of those before. Each counts from the time at which it is due.

        Args:
            rate: Jobs per second.
            seconds: For how long.
            mill: Whose jobs they are.
            ledger: Where they are noted.
            begin: time.monotonic() of the first; None: now.
            timeout: Seconds that each may take.
            expects: Errors that they may end with: of a busy server, unless told otherwise.
        """
        begin = monotonic() if begin is None else begin
        jobs: list[asyncio.Task[None]] = []
        for number in range(max(1, int(rate * seconds))):
            due = begin + number / rate
            await asyncio.sleep(due - monotonic())
            job = self.run(mill, ledger, begin=due, timeout=timeout, expects=expects)
            jobs.append(asyncio.ensure_future(job))
        await asyncio.gather(*jobs)

    async def peak(self, mill: am.AsyncClient, ledger: Ledger, hands: int, seconds: float) -> float:
        """Return the jobs per second of a few hands that never rest."""
        begin = monotonic()

        async def hand() -> int:
            jobs = 0
            while monotonic() < begin + seconds:
                await self.run(mill, ledger)
                jobs += 1
            return jobs

        jobs = sum(await asyncio.gather(*(hand() for _ in range(hands))))
        return jobs / (monotonic() - begin)


def _sines(array: am.Array, steps: int) -> am.Array:
    for _ in range(steps):
        array = cast("am.Array", np.sin(array))
    return array.sum()
