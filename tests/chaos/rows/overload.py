"""Rows of the table: more work than the server can do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

import numpy as np
from chaos.crowd import DEADLINE, Crowd
from chaos.figures import milliseconds, percentile
from chaos.ledger import Call, Ledger, Outcome
from chaos.load import latencies
from chaos.trial import Trial
from chaos.work import Work

import arraymill as am

PLACES: Final = 16
"""Calls that may be open: as much as is done in less than the deadline."""

RUSH: Final = 3
"""A wave brings at least so many jobs for each place, however slow the machine is."""

GOODPUT: Final = 0.8
"""Least part of the peak that is done while ten times as much is asked for: in the median of the waves, since a shared
machine may be slower for one of them than for its peaks,"""

WORST_GOODPUT: Final = 0.5
"""and in each."""

REFUSAL_SECONDS: Final = 0.05
"""Time in which who is refused must know."""

UNFAIR: Final = 3.0
"""What a light client may wait, against its wait when all is quiet."""

STEPS: Final = 96
"""Some 800 ms for a job: what the crowd takes of the same cores, 4 ms for a call, counts little beside it."""

LIGHT_STEPS: Final = 6
"""Some 50 ms for a job: enough of them for percentiles."""

TOLD: Final = re.compile(r"\d+ of .*try again in \d", re.IGNORECASE)
"""How a refusal gives its numbers and says when to come back."""

QUESTIONS: Final = ("info", "sum", "submit", "status", "cancel")
"""Of bystanders, who must be answered all the same."""

PAUSE_SECONDS: Final = 0.2
"""Between two rounds of questions."""


@dataclass(frozen=True, slots=True)
class Wave:
    """A time in which more is asked for than can be done."""

    begin: float
    seconds: float
    peak: float
    """Jobs per second that are done when all is quiet: the mean of before and after it, since machines change."""

    def has(self, at: float) -> bool:
        """Whether it was on."""
        return self.begin <= at <= self.begin + self.seconds


async def overload(
    run: Trial,
    *,
    waves: int = 3,
    seconds: float = 20.0,
    factor: float = 10.0,
    steps: int = STEPS,
    processes: int = 4,
) -> None:
    """Ten times as many jobs come as can be done, in waves, from clients that give up when they are refused."""
    memory: list[int] = []
    async with run.client() as mill:
        work = await Work.put(mill, run.plan.seed, steps)
        async with (
            Crowd(run.site.address, run.site.folder, work, processes) as crowd,
            _beside(_questions(run, mill), _sample(run, memory, seconds / 4)),
        ):
            peaks = [await work.peak(mill, run.ledger, 3 * run.plan.workers, seconds / 2)]
            passed: list[Wave] = []
            for _ in range(waves):
                rate = max(factor * peaks[-1], RUSH * PLACES / seconds)
                begin = await crowd.wave(rate, seconds)
                peaks.append(await work.peak(mill, run.ledger, 3 * run.plan.workers, seconds / 2))
                passed.append(Wave(begin, seconds, fmean(peaks[-2:])))
        calls = list(crowd.calls())
    run.ledger.calls += calls
    run.figures["peak memory"] = f"{max(memory) >> 20} MiB, {memory[0] >> 20} MiB before"
    run.figures["load"] = f"{factor:g} × the peak of {', '.join(f'{peak:.1f}' for peak in peaks)} jobs/s, in turn"
    judge_goodput(run, calls, passed)
    judge_refusals(run, calls)
    _tell_bystanders(run, passed)


async def unfair_share(run: Trial, *, seconds: float = 20.0, lights: int = 7, factor: float = 50.0) -> None:
    """One client asks for fifty times as much as each of seven others."""
    async with run.client() as mill:
        work = await Work.put(mill, run.plan.seed, LIGHT_STEPS)
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
    async with am.AsyncClient(run.site.address, retry_for=0, shared=False) as mill:
        await work.run_at(rate, seconds, mill, run.ledger)


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Do some things while the body runs; they end with it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _questions(run: Trial, mill: am.AsyncClient) -> None:
    """Submit a job, ask about it and cancel it, again and again."""
    x = am.asarray(np.ones(8)).sum()
    submitted: list[am.AsyncJob] = []

    def call(what: str) -> AbstractContextManager[Call]:
        return run.ledger.call(what, timeout=DEADLINE, expects=am.JobEndedError)

    while True:
        with call("submit"):
            submitted.append(await mill.submit(x, timeout=DEADLINE))
        for job in submitted:
            with call("status"):
                await job.status(timeout=DEADLINE)
            with call("cancel"):
                await job.cancel(timeout=DEADLINE)
            with call("delete"):
                await job.delete(timeout=DEADLINE)
        submitted.clear()
        await asyncio.sleep(PAUSE_SECONDS)


async def _sample(run: Trial, memory: list[int], pause: float) -> None:
    """Note the server's memory now and then."""
    while True:
        memory.append(await asyncio.to_thread(run.site.memory_bytes))
        await asyncio.sleep(pause)


def judge_goodput(run: Trial, calls: Sequence[Call], waves: Sequence[Wave]) -> None:
    """Compare what was done during each wave with its peak; what was still done after it does not count."""
    ends = [call.end for call in calls if call.outcome is Outcome.RIGHT and call.end is not None]
    parts = [sum(map(wave.has, ends)) / wave.seconds / wave.peak for wave in waves]
    run.figures["goodput"] = f"{', '.join(f'{part:.2f}' for part in parts)} of the peak"
    if median(parts) < GOODPUT or min(parts) < WORST_GOODPUT:
        run.too_slow(f"goodput was {median(parts):.2f} of the peak, {min(parts):.2f} in the worst wave")


def judge_refusals(run: Trial, calls: Sequence[Call]) -> None:
    ended = [call for call in calls if call.outcome is Outcome.EXPECTED]
    refusals = [call for call in ended if call.reason == am.BusyError.default_reason]
    refused = latencies(refusals)
    late = sum(call.reason == am.DeadlineError.default_reason for call in ended)
    run.figures["calls"] = f"{len(calls)}, {len(refused)} refused, {late} ended by their deadline of {DEADLINE:g} s"
    run.figures["refusal"] = milliseconds(refused, 50, 99)
    if not refused:
        run.complaints.append("nobody was refused")
    poor = sorted({call.text for call in refusals if not TOLD.search(call.text)})
    run.complaints += [f"a refusal tells too little: {text}" for text in poor]
    if percentile(refused, 99) > REFUSAL_SECONDS:
        run.too_slow(f"the 99th of 100 refusals took {percentile(refused, 99):.3f} s")


def _tell_bystanders(run: Trial, waves: Sequence[Wave]) -> None:
    known = [*run.bystander.calls, *run.ledger.calls]
    calls = [call for call in known if any(wave.has(call.begin) for wave in waves)]
    for what in QUESTIONS:
        seconds = latencies(call for call in calls if call.what.endswith(what))
        run.figures[f"bystanders' {what}"] = milliseconds(seconds, 50, 99)
