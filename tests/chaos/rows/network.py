"""Row of the table: what happens to the lines between clients and the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from chaos.figures import milliseconds
from chaos.invariants import runs
from chaos.ledger import Outcome
from chaos.load import Load, Way, latencies
from chaos.oracle import LARGEST_BYTES
from chaos.trial import Trial

from arraymill_server.testing.observer import stories
from arraymill_server.testing.proxy import Proxy, Weather

PATIENCE_SECONDS: Final = 600.0
"""What a job may take, and for how long its client tries again: one call meets several faults."""

HOLD_SECONDS: Final = (0.2, 2.0)
"""Least and greatest time for which nothing passes."""

WAYS: Final = ("cut", "reset", "halved", "forgotten", "held")
"""What can happen to a link; that it is forgotten a client notices after 40 s."""

WEATHERS: Final = (
    Weather(),
    Weather(latency_seconds=0.05),
    Weather(bytes_per_second=16 << 20),
    Weather(slice_bytes=1000),
    Weather(latency_seconds=0.02, bytes_per_second=32 << 20, slice_bytes=1448),
)
"""Fair, far, narrow, in crumbs, and all at once."""


async def broken_links(
    run: Trial,
    *,
    faults: int = 60,
    jobs: int = 50,
    clients: int = 4,
    largest: int = LARGEST_BYTES,
    ways: Sequence[str] = WAYS,
) -> None:
    """Links are cut, reset, halved, held, forgotten and slow, in the middle of whatever travels."""
    proxy = await run.proxy()
    load = Load(run.plan.seed, largest=largest, in_flight=-(-jobs // clients), timeout=PATIENCE_SECONDS, way=Way.BOTH)
    chosen = run.random.choices(ways, k=faults)
    breaking = asyncio.ensure_future(_break(run, proxy, largest, chosen))
    first = 0
    while not breaking.done():
        await run.run_clients(load, range(first, first + jobs), clients, run.address())
        first += jobs
    await breaking
    twice = sum(runs(story) > 1 for story in stories(run.site.folder).values())
    run.figures["faults"] = ", ".join(f"{count} {name}" for name, count in sorted(Counter(chosen).items()))
    run.figures["jobs"] = f"{len(run.ledger.calls)}, unfinished {len(run.ledger.of(Outcome.FAILED))}"
    run.figures["executed twice"] = str(twice)
    run.figures["time of a job"] = milliseconds(latencies(run.ledger.calls), 50, 99)


async def _break(run: Trial, proxy: Proxy, largest: int, ways: Sequence[str]) -> None:
    """Let some bytes pass, then break something, again and again."""

    async def hold() -> None:
        proxy.hold()
        await asyncio.sleep(run.random.uniform(*HOLD_SECONDS))
        proxy.release()

    acts = {"cut": proxy.cut, "reset": proxy.reset, "halved": proxy.halve, "forgotten": proxy.lose}
    for name in ways:
        proxy.weather = run.random.choice(WEATHERS)
        await proxy.passes(int(largest * 2 ** run.random.uniform(-6, 1)))
        if name == "held":
            await hold()
        else:
            acts[name]()
