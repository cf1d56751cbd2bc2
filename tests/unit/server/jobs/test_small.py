"""Which jobs are played, and which go the long way."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from plans import floats, graph_of, operation

from arraymill_proto.graph import Graph, Input, Resident
from arraymill_server.jobs import small
from arraymill_server.jobs.small import PATIENCE, SMALL_SECONDS, TRIAL_SECONDS, Played, SmallJobs
from arraymill_server.plan.planner import PlanLimits
from arraymill_server.plan.script import Script

X = np.arange(12.0)
DATA = [X.tobytes()]
SUM = graph_of(floats(12), operation("sum", 0))
KEY = b"sum of twelve"
QUICK = SMALL_SECONDS / 2


def learned(jobs: SmallJobs, times: int, *, graph: Graph = SUM, seconds: float = QUICK) -> bool:
    """Let a job go the long way so many times; tell whether the next one has a script."""
    for _ in range(times):
        jobs.learn(KEY, graph, seconds, "sum")
    return jobs.find(KEY, DATA) is not None


def play(jobs: SmallJobs, *data: bytes) -> Played | None:
    """Play a job that has a script."""
    elements = data or DATA
    part = jobs.find(KEY, elements)
    assert part is not None
    return jobs.play(part, elements)


@pytest.fixture
def jobs() -> SmallJobs:
    return SmallJobs(PlanLimits(hold_bytes=1 << 20))


def test_the_third_job_is_played(jobs: SmallJobs) -> None:
    assert jobs.find(KEY, DATA) is None
    assert not learned(jobs, 1)
    assert learned(jobs, 1)
    played = play(jobs)
    assert played is not None
    assert np.frombuffer(played.results[0]) == X.sum()
    part = jobs.find(KEY, DATA)
    assert part is not None
    assert played.script is part.script
    assert repr(jobs) == "<SmallJobs: 1 graphs known, 1 jobs played>"


def test_a_graph_of_another_key_is_another(jobs: SmallJobs) -> None:
    assert learned(jobs, 2)
    assert jobs.find(b"another", DATA) is None


def test_slow_jobs_have_no_script_until_one_was_quick(jobs: SmallJobs) -> None:
    assert not learned(jobs, 5, seconds=1.1 * TRIAL_SECONDS)
    assert learned(jobs, 1, seconds=0.9 * TRIAL_SECONDS)


def test_too_few_or_many_bytes_go_the_long_way(jobs: SmallJobs) -> None:
    assert learned(jobs, 2)
    assert jobs.find(KEY, [X.tobytes()[:-1]]) is None


def test_resident_arrays_go_the_long_way(jobs: SmallJobs) -> None:
    assert not learned(jobs, 3, graph=graph_of(Resident("x"), operation("sum", 0)))


def test_a_job_that_is_none_for_a_script_is_looked_at_once(jobs: SmallJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Graph] = []

    def none(graph: Graph, *_: object) -> None:
        seen.append(graph)

    monkeypatch.setattr(small, "script_of", none)
    assert not learned(jobs, 5)
    assert seen == [SUM]


def test_what_a_kernel_raises_goes_the_long_way(jobs: SmallJobs) -> None:
    integers = Input((4,), np.dtype(np.int64))
    graph = graph_of(integers, integers, operation("power", 0, 1))
    x = np.arange(4).tobytes()
    for _ in range(2):
        jobs.learn(KEY, graph, QUICK, "sum")
    assert play(jobs, x, x) is not None
    assert play(jobs, x, np.array([1, -1, 1, 1]).tobytes()) is None
    assert play(jobs, x, x) is not None


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    """Let playing take so long, the last time again and again."""
    play = Script.play

    def slow(self: Script, data: list[bytes]) -> object:
        results, _ = play(self, data)
        return results, seconds.pop(0) if len(seconds) > 1 else seconds[0]

    monkeypatch.setattr(Script, "play", slow)


def plays(jobs: SmallJobs, most: int = 10_000) -> int:
    """Play a job as often as it has a script; return how often that was."""
    for count in range(most):
        if jobs.find(KEY, DATA) is None:
            return count
        play(jobs)
    return most


def test_one_slow_playing_is_forgiven(jobs: SmallJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, [QUICK, QUICK, 1.0, QUICK])
    assert learned(jobs, 2)
    assert plays(jobs, 100) == 100


def test_a_script_that_has_become_slow_goes_the_long_way_and_is_tried_again(
    jobs: SmallJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch, [2 * SMALL_SECONDS])
    assert learned(jobs, 2)
    assert 1 < plays(jobs) < 10
    tries = next(count for count in range(1, 1000) if learned(jobs, 1))
    assert tries > 1
    assert plays(jobs) == 1, "one that is still slow is not tried twice in a row"
    assert PATIENCE**1000 < 0.5


def test_a_script_that_takes_very_long_is_not_tried_soon(jobs: SmallJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, [1.0])
    assert learned(jobs, 2)
    assert plays(jobs) == 2
    assert not learned(jobs, 300)


def test_graphs_that_nobody_sends_are_forgotten(jobs: SmallJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "KNOWN", 3)
    jobs = SmallJobs(PlanLimits(hold_bytes=1 << 20))
    assert learned(jobs, 2)
    for number in range(3):
        jobs.learn(b"%d" % number, SUM, QUICK, "sum")
    assert jobs.find(KEY, DATA) is None


async def test_playing_needs_no_loop(jobs: SmallJobs) -> None:
    """It is over within the turn of the loop in which it begins."""
    assert learned(jobs, 2)
    turned = asyncio.ensure_future(asyncio.sleep(0))
    play(jobs)
    assert not turned.done()
    await turned
