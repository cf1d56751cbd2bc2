"""Rows of the table: more work than the server can do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Self, cast

import numpy as np
from chaos.figures import milliseconds, percentile
from chaos.ledger import Call, Ledger, Outcome
from chaos.load import latencies
from chaos.trial import Trial
from numpy.typing import NDArray

import arraymill as am

STEPS: Final = 6
"""Sines in a row: with BYTES some 50 ms for a job, so that a client costs little beside it."""

BYTES: Final = 4 << 20

WAITING: Final = 32
"""Jobs that may wait for memory."""

GOODPUT: Final = 0.8
"""Least part of the peak that is done while ten times as much is asked for."""

UNFAIR: Final = 3.0
"""What a light client may wait, against its wait when all is quiet."""

TIMEOUT: Final = 60.0


async def overload(run: Trial, *, waves: int = 3, seconds: float = 10.0, factor: float = 10.0) -> None:
    """Ten times as many jobs come as can be done, in waves."""
    async with run.client() as mill:
        work = await Work.put(mill, run.plan.seed)
        peak = await work.peak(mill, run.ledger, 3 * run.plan.workers, seconds)
        goodput: list[float] = []
        memory: list[int] = []
        async with am.AsyncClient(run.site.address, retry_for=0) as impatient:
            for _ in range(waves):
                first = len(run.ledger.calls)
                begin = monotonic()
                await work.run_at(factor * peak, seconds, impatient, run.ledger)
                memory.append(await asyncio.to_thread(run.site.memory_bytes))
                done = sum(call.outcome is Outcome.RIGHT for call in run.ledger.calls[first:])
                goodput.append(done / (monotonic() - begin))
                await asyncio.sleep(seconds / 4)
    _tell_waves(run, peak, goodput, memory)


async def unfair_share(run: Trial, *, seconds: float = 20.0, lights: int = 7, factor: float = 50.0) -> None:
    """One client asks for fifty times as much as each of seven others."""
    async with run.client() as mill:
        work = await Work.put(mill, run.plan.seed)
        peak = await work.peak(mill, run.ledger, 3 * run.plan.workers, seconds / 4)
        rate = 2 * peak / factor  # of a light client: the heavy one alone asks for twice as much as can be done
        quiet = await _light(run, work, rate, seconds, lights)
        heavy = asyncio.ensure_future(_heavy(run, work, factor * rate, seconds))
        beside = await _light(run, work, rate, seconds, lights)
        await heavy
    before, after = percentile(latencies(quiet), 99), percentile(latencies(beside), 99)
    run.figures["light clients, quiet"] = milliseconds(latencies(quiet), 50, 99)
    run.figures["light clients, beside the heavy one"] = milliseconds(latencies(beside), 50, 99)
    run.figures["p99 against quiet"] = f"{after / before:.2f}"
    if after > UNFAIR * before:
        run.too_slow(f"light clients wait {after / before:.1f} times as long as when all is quiet")


@dataclass(frozen=True, slots=True)
class Work:
    """A job that costs a client little, and its answer: the same bits must come each time."""

    expression: am.Array
    known: float

    @classmethod
    async def put(cls, mill: am.AsyncClient, seed: int) -> Self:
        """Put an array on the server, and compute the answer once."""
        x: NDArray[np.float64] = np.random.Generator(np.random.Philox(key=seed)).random(BYTES // 8)
        expression: am.Array = await mill.put(x)
        for _ in range(STEPS):
            expression = cast("am.Array", np.sin(expression))
        return cls(expression.sum(), float(await mill.compute(expression.sum())))

    async def run(self, mill: am.AsyncClient, ledger: Ledger, expects: type[Exception] | None = None) -> None:
        """Run one job."""
        with ledger.call("sines", timeout=TIMEOUT, nbytes=BYTES, expects=expects) as call:
            call.check(await mill.compute(self.expression, timeout=TIMEOUT) == self.known)

    async def run_at(self, rate: float, seconds: float, mill: am.AsyncClient, ledger: Ledger) -> None:
        """Begin jobs at a rate, whatever becomes of those before; a busy server may refuse them."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        jobs: list[asyncio.Task[None]] = []
        for number in range(max(1, int(rate * seconds))):
            await asyncio.sleep(begin + number / rate - loop.time())
            jobs.append(asyncio.ensure_future(self.run(mill, ledger, am.BusyError)))
        await asyncio.gather(*jobs)

    async def peak(self, mill: am.AsyncClient, ledger: Ledger, hands: int, seconds: float) -> float:
        """Return the jobs per second of a few hands that never rest."""
        begin, first = monotonic(), len(ledger.calls)

        async def hand() -> None:
            while monotonic() < begin + seconds:
                await self.run(mill, ledger)

        await asyncio.gather(*(hand() for _ in range(hands)))
        return (len(ledger.calls) - first) / (monotonic() - begin)


async def _light(run: Trial, work: Work, rate: float, seconds: float, clients: int) -> Sequence[Call]:
    """Run some clients of a low rate each; return their calls."""
    ledger = Ledger()

    async def one() -> None:
        async with run.client() as mill:
            await asyncio.sleep(run.random.random() / rate)
            await work.run_at(rate, seconds, mill, ledger)

    await asyncio.gather(*(one() for _ in range(clients)))
    run.ledger.calls += ledger.calls
    return ledger.calls


async def _heavy(run: Trial, work: Work, rate: float, seconds: float) -> None:
    async with am.AsyncClient(run.site.address, retry_for=0) as mill:
        await work.run_at(rate, seconds, mill, run.ledger)


def _tell_waves(run: Trial, peak: float, goodput: Iterable[float], memory: Sequence[int]) -> None:
    refused = run.ledger.of(Outcome.EXPECTED)
    least = min(goodput) / peak
    run.figures["calls"] = f"{len(run.ledger.calls)}, {len(refused)} refused"
    run.figures["goodput"] = f"{least:.2f} of the peak of {peak:.0f} jobs/s"
    run.figures["refusal"] = milliseconds(latencies(refused), 50, 99)
    for what in ("info", "sum"):
        calls = [call for call in run.bystander.calls if call.what.endswith(what)]
        run.figures[f"bystander's {what}"] = milliseconds(latencies(calls), 50, 99)
    run.figures["peak memory"] = f"{max(memory) >> 20} MiB"
    if least < GOODPUT:
        run.too_slow(f"goodput was {least:.2f} of the peak")
