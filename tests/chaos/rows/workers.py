"""Rows of the table: what happens to workers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import count
from time import monotonic
from typing import Final

import numpy as np
import psutil
from chaos.figures import milliseconds
from chaos.ledger import Outcome
from chaos.load import Load
from chaos.oracle import LARGEST_BYTES
from chaos.site import grown, until
from chaos.trial import Trial

import arraymill as am
from arraymill_server.testing.orders import DEADLY, HANGING, Blow, Note, Point, mark

NUMBERS: Final = re.compile(r"\d[\d,]{5,} bytes")

TAKEN_SECONDS: Final = 0.5
"""Time in which a worker under load comes to every place."""

PACE_SECONDS: Final = (0.01, 0.05)
"""Least and greatest pause after a blow."""

HANG_SECONDS: Final = 60.0
"""Longest that a worker may hang: the time limit of its task."""

OVERRUN_SECONDS: Final = 0.5
"""What a call may take beyond its deadline while workers hang."""

BUSY: Final = (Point.RECEIVE, Point.COMPUTE, Point.REPLY)


async def worker_deaths(
    run: Trial,
    *,
    deaths: int = 500,
    jobs: int = 300,
    clients: int = 8,
    largest: int = LARGEST_BYTES,
) -> None:
    """Workers die in every way and everywhere; and one job kills whoever touches it."""
    load = Load(run.plan.seed, largest=largest, in_flight=-(-jobs // clients), timeout=300)
    numbers = count()
    quiet = await _batch(run, load, numbers, jobs, clients)
    striking = asyncio.ensure_future(_strike(run, deaths - deaths // 4, DEADLY, BUSY))
    poisonous = asyncio.ensure_future(_poison(run))
    loud = [await _batch(run, load, numbers, jobs, clients)]
    while not striking.done():
        loud.append(await _batch(run, load, numbers, jobs, clients))
    await asyncio.gather(striking, poisonous)
    await _strike(run, deaths // 4, DEADLY, (Point.IDLE,))
    await asyncio.sleep(TAKEN_SECONDS)
    _tell_deaths(run, [note for note in run.book.strikes() if note.blow in DEADLY])
    run.figures["throughput"] = f"{sum(loud) / len(loud) / quiet:.2f} of quiet"


async def worker_hangs(
    run: Trial,
    *,
    hangs: int = 40,
    jobs: int = 300,
    clients: int = 8,
    largest: int = LARGEST_BYTES,
    timeout: float = 5.0,
) -> None:
    """Workers stop, or compute for ever, or ignore SIGTERM as well: deadlines hold all the same."""
    load = Load(
        run.plan.seed, largest=largest, in_flight=-(-jobs // clients), timeout=timeout, expects=am.DeadlineError
    )
    numbers = count()
    striking = asyncio.ensure_future(_hang(run, hangs))
    while not striking.done():
        await _batch(run, load, numbers, jobs, clients)
    await striking
    late = run.ledger.of(Outcome.EXPECTED)
    run.figures["hangs"] = str(len(run.book.strikes()))
    run.figures["calls"] = f"{len(run.ledger.calls)}, {len(late)} ended by their deadline"
    overrun = max((call.seconds - call.timeout for call in late), default=0.0)
    run.figures["overrun"] = f"at most {overrun:.3f} s"
    if overrun > OVERRUN_SECONDS:
        run.too_slow(f"a call ended {overrun:.3f} s after its deadline")


async def greedy_workers(
    run: Trial, *, greedy: int = 30, jobs: int = 300, clients: int = 8, largest: int = LARGEST_BYTES
) -> None:
    """Workers take memory without end: against RLIMIT_DATA, or against the limit of a control group."""
    x = np.ones(1 << 18)
    pid = run.site.process.pid
    load = Load(run.plan.seed, largest=largest, in_flight=-(-jobs // clients), timeout=300)
    others = asyncio.ensure_future(run.run_clients(load, range(jobs), clients))
    async with run.client() as mill:
        for _ in range(greedy):
            with run.ledger.call("greedy", timeout=60, expects=am.TooLargeError) as call:
                await mill.compute((am.asarray(x) + mark(Blow.EXHAUST)).sum(), timeout=60)
                call.check(is_right=False)
    await others
    told = run.ledger.of(Outcome.EXPECTED)
    has_ended = not run.site.is_running or run.site.process.pid != pid
    if has_ended:
        run.complaints.append("the server was killed")
    run.complaints += [f"no numbers in: {call.text}" for call in told if not NUMBERS.search(call.text)]
    run.figures["greedy jobs"] = f"{len(told)} of {greedy} refused: {told[0].text if told else ''}"
    run.figures["jobs"] = f"{len(run.ledger.calls) - greedy}, lost {len(run.ledger.of(Outcome.FAILED))}"
    run.figures["server killed"] = str(int(has_ended))


async def _batch(run: Trial, load: Load, numbers: count[int], jobs: int, clients: int) -> float:
    """Run some jobs; return the bytes per second."""
    begin, first = monotonic(), len(run.ledger.calls)
    await run.run_clients(load, [next(numbers) for _ in range(jobs)], clients)
    return sum(call.nbytes for call in run.ledger.calls[first:]) / (monotonic() - begin)


async def _strike(run: Trial, times: int, blows: Sequence[Blow], points: Sequence[Point]) -> None:
    """Order blows one after the other, each when the one before has struck."""
    for _ in range(times):
        has_struck = grown(lambda: len(run.book.strikes()))
        while True:
            run.book.order(run.random.choice(blows), run.random.choice(points))
            if await until(has_struck, TAKEN_SECONDS):
                break
            run.book.withdraw()
        await asyncio.sleep(run.random.uniform(*PACE_SECONDS))


async def _hang(run: Trial, times: int) -> None:
    """Let one worker hang, every fourth time all of them, each time when those before are gone."""
    for number in range(1, times + 1):
        first = len(run.book.strikes())
        await _strike(run, 1 if number % 4 else run.plan.workers, HANGING, BUSY)
        for note in run.book.strikes()[first:]:
            await until(partial(_is_gone, note.pid), HANG_SECONDS)


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def _poison(run: Trial) -> None:
    """Run a job that kills every worker that tries it; it must fail, and nothing else."""
    x = np.ones(1 << 18)
    async with run.client() as mill:
        with run.ledger.call("poison", timeout=60, expects=am.WorkerError) as call:
            await mill.compute((am.asarray(x) + mark(Blow.SEGV)).sum(), timeout=60)
            call.check(is_right=False)


def _tell_deaths(run: Trial, strikes: Sequence[Note]) -> None:
    """Compare the workers' notes with the server's log."""
    noticed: dict[object, float] = {
        event["pid"]: datetime.fromisoformat(str(event["timestamp"])).timestamp()
        for event in run.site.events("worker_died")
    }
    ready = iter([note.at for note in run.book.notes() if note.blow is None][run.plan.workers :])
    detected = [noticed[note.pid] - note.wall for note in strikes if note.pid in noticed]
    recovered = [at - note.at for note, at in zip(strikes, ready, strict=False)]
    wrong = run.ledger.of(Outcome.WRONG)
    lost = run.ledger.of(Outcome.FAILED)
    run.figures["deaths"] = f"{len(strikes)}"
    run.figures["jobs"] = f"{len(run.ledger.calls)}, lost {len(lost)}, wrong {len(wrong)}"
    run.figures["detected"] = milliseconds(detected, 50, 99)
    run.figures["replaced"] = milliseconds(recovered, 50, 99)
