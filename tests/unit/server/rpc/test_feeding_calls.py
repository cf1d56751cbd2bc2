"""The calls of clients that feed submitted jobs: counted apart from those that run jobs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from boards import INLINE, SUM
from desks import PLACES, Desk
from patience import until

from arraymill_server.app import drain
from arraymill_server.app.drain import drained


async def test_who_feeds_jobs_takes_no_place_of_who_runs_one() -> None:
    """Eight clients that each fed 256 jobs kept everybody else out, before."""
    desk = Desk()
    ids = [(await desk.submit(SUM.graph)).id for _ in range(PLACES + 1)]
    feeders = [asyncio.ensure_future(desk.attach(id)) for id in ids]
    await until(lambda: desk.calls.feeds.held == len(ids))
    computing = asyncio.ensure_future(desk.compute(INLINE.graph))
    await desk.work_until(computing.done)
    computing.result()
    await desk.bench.close()
    await asyncio.wait(feeders)
    assert desk.calls.feeds.held == 0


async def test_a_drain_waits_for_who_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is to hear of the end of its job."""
    monkeypatch.setattr(drain, "LINGER_SECONDS", 0.0)
    desk = Desk()
    calls = desk.calls

    async def wait_idle() -> None:
        """All jobs have ended."""

    jobs: Any = SimpleNamespace(wait_idle=wait_idle, is_idle=True, last_kept=0.0)
    with calls.feeds.taken("a", is_bounded=False):
        draining = asyncio.ensure_future(drained(jobs, calls))
        await asyncio.sleep(0.01)
        assert not draining.done()
    await draining
    await desk.bench.close()
