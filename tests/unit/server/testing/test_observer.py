from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest
from patience import until

from arraymill_server.app.server import App
from arraymill_server.arena.arena import Arena
from arraymill_server.jobs.life import Event, JobEvent, Life, State
from arraymill_server.jobs.submitted import Submission, SubmittedJob
from arraymill_server.testing.observer import (
    JOURNAL,
    OBSERVED,
    TICKS,
    JournalledStorage,
    Observations,
    Observer,
    stories,
)

LINE: dict[str, Any] = {"at": 1.5, "lags": [0.0, 0.25], "leases": ["job 1"], "tasks": 7, "running": 1, "waiting": 2}


# ------------------------------------------------------------------ looks


@pytest.fixture
def arena() -> Iterator[Arena]:
    """One job and one array hold memory."""
    arena = Arena.create(1 << 16)
    leases = arena.lease(1 << 12, "job 1"), arena.lease(1 << 12, "array a1", top=True)
    yield arena
    for lease in leases:
        assert lease is not None
        lease.release()


async def test_an_observer_looks_at_the_server_and_its_loop(arena: Arena, tmp_path: Path) -> None:
    app = cast("App", SimpleNamespace(arena=arena, jobs=SimpleNamespace(running=1, waiting=2)))
    observations, begin = Observations(tmp_path), monotonic()
    assert observations() == []
    observing = asyncio.create_task(Observer(app, tmp_path).run())
    tasks = len(asyncio.all_tasks())
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251  # the loop is late
    await until(lambda: len(observations()) >= 2)
    observing.cancel()
    await asyncio.wait([observing])
    first, second = observations()[:2]
    assert begin < first.at < second.at < monotonic()
    assert (len(first.lags), max(first.lags) > 0.05) == (TICKS, True)
    assert (first.leases, first.running, first.waiting) == (("job 1",), 1, 2)
    assert first.tasks == tasks - 1, "itself does not count"


def test_a_line_that_is_being_written_is_left_for_the_next_call(tmp_path: Path) -> None:
    observations, text = Observations(tmp_path), json.dumps(LINE)
    with (tmp_path / OBSERVED).open("w", buffering=1) as file:
        file.write(text + "\n" + text[:30])
        file.flush()
        assert [look.tasks for look in observations()] == [7]
        file.write(text[30:] + "\n" + json.dumps(LINE | {"tasks": 8}) + "\n")
        assert [look.tasks for look in observations()] == [7, 7, 8]
    assert observations()[1] == observations()[0]
    assert (observations()[0].lags, observations()[0].leases) == ((0.0, 0.25), ("job 1",))


# ------------------------------------------------------------------ stories


def tell(storage: JournalledStorage, id: str, key: str, *events: tuple[Event, str]) -> None:
    """Let a job be added, and something happen to it."""
    storage.add(SubmittedJob(id, 1, Submission("a", b"", key), 0.0, None, Life(id, 0.0)))
    for event, detail in events:
        storage.note(JobEvent(id, event, 1.0, State.RUNNING, detail))


def test_a_story_for_each_key(tmp_path: Path) -> None:
    storage = JournalledStorage(tmp_path)
    tell(storage, "j1", "k", (Event.ADMIT, ""), (Event.FAIL, "out of luck"))
    tell(storage, "j2", "", (Event.ADMIT, ""))
    tell(storage, "j3", "k", (Event.SUCCEED, ""))
    assert stories(tmp_path) == {
        f"k@{os.getpid()}": ["j1 added", "j1 admitted", "j1 failed out of luck", "j3 added", "j3 succeeded"]
    }
    job = storage.with_key("k")
    assert job is not None, "it is a storage all the same"
    assert job.id == "j3"


def test_each_life_of_a_server_has_its_own_stories(tmp_path: Path) -> None:
    for life in (1, 2):
        for what in ("added", "succeeded"):
            with (tmp_path / JOURNAL).open("a") as file:
                file.write(json.dumps({"life": life, "job": f"j{life}", "what": what, "key": "k"}) + "\n")
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"life": 2, "job": "j2", "wh')  # killed here
    assert stories(tmp_path) == {"k@1": ["j1 added", "j1 succeeded"], "k@2": ["j2 added", "j2 succeeded"]}


def test_no_journal_no_stories(tmp_path: Path) -> None:
    assert stories(tmp_path) == {}
