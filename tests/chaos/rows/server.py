"""Rows of the table: what happens to the server itself."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

import psutil
from chaos.figures import milliseconds
from chaos.ledger import Outcome
from chaos.load import Load, latencies
from chaos.site import grown, until
from chaos.trial import Trial, is_alive

from arraymill_server.testing.crash_points import CrashPoint

LIFE_SECONDS: Final = 2.0
"""Time in which a server under load comes to its crash point; else it is killed from outside."""

MOST_HITS: Final = 40
"""A crash point kills at one of so many first calls."""

GONE_SECONDS: Final = 1.0
"""Time in which everything of a killed server must be gone."""

PATIENCE_SECONDS: Final = 30.0
"""Time after which it is there for good."""


async def server_kills(
    run: Trial,
    *,
    kills: int = 50,
    clients: int = 8,
    in_flight: int = 4,
    largest: int = 4 << 20,
    life: float = LIFE_SECONDS,
) -> None:
    """The server dies at places of its own code, or from outside; clients come back with the same keys."""
    load = Load(run.plan.seed, largest=largest, in_flight=in_flight, timeout=120)
    working = asyncio.ensure_future(load.run_steadily(run.client, clients, run.ledger, over := asyncio.Event()))
    gone: list[float] = []
    back: list[float] = []
    places: list[str] = []
    for left in reversed(range(kills)):
        gone.append(await _death(run, life))
        crash = CrashPoint.choose(run.random, MOST_HITS) if left else None
        places.append(crash.name if crash else "outside")
        begin, answers = monotonic(), grown(lambda: len(run.ledger.of(Outcome.RIGHT)))
        await run.site.start(crash)
        await until(answers, life)
        back.append(monotonic() - begin)
    over.set()
    await working
    run.figures["kills"] = f"{kills}, at {len(set(places))} places"
    run.figures["jobs"] = f"{len(run.ledger.calls)}, lost {len(run.ledger.of(Outcome.FAILED))}"
    run.figures["all of it gone"] = milliseconds(gone, 50, 99)
    run.figures["start until the first answer"] = milliseconds(back, 50, 99)


async def rolling_restarts(
    run: Trial,
    *,
    restarts: int = 30,
    clients: int = 4,
    in_flight: int = 2,
    largest: int = 4 << 20,
) -> None:
    """One server after the other takes over; clients of the shipped library hear of nothing."""
    load = Load(run.plan.seed, largest=largest, in_flight=in_flight, timeout=60)
    working = asyncio.ensure_future(load.run_steadily(run.client, clients, run.ledger, over := asyncio.Event()))
    codes: list[int] = []
    for _ in range(restarts):
        await asyncio.sleep(run.random.random())
        codes.append(await run.site.roll())
    over.set()
    await working
    run.complaints += [f"a server ended with exit code {code}" for code in codes if code]
    calls = [*run.ledger.calls, *run.bystander.calls]
    failed = [call for call in calls if call.outcome is Outcome.FAILED]
    run.figures["restarts"] = str(restarts)
    run.figures["calls"] = f"{len(calls)}, failed {len(failed)}"
    run.figures["submitted anew"] = str(sum(call.again for call in calls))
    run.figures["time of a call"] = milliseconds(latencies(calls), 50, 99, 100)


async def _death(run: Trial, life: float) -> float:
    """Wait for the end of the server, or bring it about; return the seconds until nothing of it is left."""
    family = run.site.family()
    if not await until(lambda: not run.site.is_running, life * run.random.random()):
        family = run.site.family()
    run.site.kill()
    begin = monotonic()

    def left() -> list[psutil.Process]:
        return [process for process in family if is_alive(process)]

    if not await until(lambda: not left() and not run.site.shared_files(), PATIENCE_SECONDS):
        run.complaints.append(f"left behind by a killed server: {left()} {run.site.shared_files()}")
    seconds = monotonic() - begin
    if seconds > GONE_SECONDS:
        run.too_slow(f"a killed server was gone after {seconds:.1f} s")
    return seconds
