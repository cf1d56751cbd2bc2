"""Who watches a job is told all that is new, and sleeps meanwhile."""

from __future__ import annotations

import pytest
from boards import SUM, WIDE, Case, Stage
from onlookers import REPEAT_SECONDS
from onlookers import Onlooker as AnyOnlooker

from arraymill_server.jobs import watches
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob


class Onlooker(AnyOnlooker):
    """One that has been told what there is."""

    def __init__(self, stage: Stage, job: SubmittedJob) -> None:
        super().__init__(stage.loop, stage.bench.board, job)
        stage.settle()


def started(stage: Stage, case: Case = WIDE, count: int = 1) -> list[SubmittedJob]:
    return [stage.submit(case) for _ in range(count)]


# ---------------------------------------------------------------------- states


def test_every_state_is_told_at_once(stage: Stage) -> None:
    """No time passes here."""
    first, second = started(stage, count=2)
    onlookers = [Onlooker(stage, job) for job in (first, second)]
    stage.finish(first, WIDE)
    stage.finish(second, WIDE)
    assert [onlooker.states for onlooker in onlookers] == [
        [State.RUNNING, State.SUCCEEDED],
        [State.QUEUED, State.RUNNING, State.SUCCEEDED],
    ]
    assert all(onlooker.task.done() for onlooker in onlookers)


def test_a_job_that_stops_is_told_twice(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    onlooker = Onlooker(stage, job)
    stage.attach(job, SUM).answer()
    stage.settle()
    stage.cancel(job.id)
    stage.settle()
    assert onlooker.states == [State.RUNNING, State.STOPPING]
    stage.work()
    assert onlooker.states == [State.RUNNING, State.STOPPING, State.CANCELLED]


def test_the_end_is_told_to_who_was_busy_when_it_came(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    news = stage.bench.board.watches.news(job, REPEAT_SECONDS)

    async def told() -> State:
        await anext(news)
        return job.state

    assert stage.loop.run(told()) is State.RUNNING
    stage.finish(job, SUM)
    assert stage.loop.run(told()) is State.SUCCEEDED
    with pytest.raises(StopAsyncIteration):
        stage.loop.run(anext(news))


def test_a_job_that_has_ended_is_told_once(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    stage.finish(job, SUM)
    assert Onlooker(stage, job).states == [State.SUCCEEDED]


def test_who_hears_nothing_for_long_is_told_the_same_again(stage: Stage) -> None:
    onlooker = Onlooker(stage, *started(stage, SUM))
    stage.pass_time(REPEAT_SECONDS / 2)
    assert len(onlooker.told) == 1, "time alone is no news"
    stage.pass_time(REPEAT_SECONDS / 2)
    assert len(onlooker.told) == 2
    assert len(set(onlooker.told)) == 1


# ---------------------------------------------------------------------- figures


def test_bytes_are_told_at_once_and_then_four_times_a_second(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    onlooker = Onlooker(stage, job)
    feeder = stage.attach(job, SUM)
    frames = [frame for want in feeder.wants for frame in feeder.frames(want)]
    stage.pass_time(watches.WATCH_SECONDS)
    for frame in frames[:6]:
        feeder.call.send(frame)
        stage.settle()
    assert onlooker.received == [0, 1000]
    stage.pass_time(watches.WATCH_SECONDS)
    assert onlooker.received == [0, 1000, job.figures.received_bytes]
    stage.pass_time(watches.WATCH_SECONDS)
    assert len(onlooker.told) == 3


def test_blocks_are_told(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    onlooker = Onlooker(stage, job)
    stage.attach(job, SUM).answer()
    stage.settle()
    stage.pass_time(watches.WATCH_SECONDS)
    stage.bench.engine.end_one()
    stage.settle()
    stage.pass_time(watches.WATCH_SECONDS)
    assert onlooker.told[-1] == (State.RUNNING, 0, job.figures.received_bytes, 1)


def test_bytes_that_are_wanted_again_are_told(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    onlooker = Onlooker(stage, job)
    feeder = stage.attach(job, SUM)
    stage.pass_time(watches.WATCH_SECONDS)
    feeder.call.send(feeder.frames(feeder.wants[0])[1])  # behind a gap
    stage.settle()
    stage.attach(job, SUM)
    stage.pass_time(watches.WATCH_SECONDS)
    assert onlooker.received == [0, 1000, 0]


# ---------------------------------------------------------------------- places


def test_places_are_told_when_others_leave_and_come(stage: Stage) -> None:
    jobs = started(stage, count=4)
    onlookers = [Onlooker(stage, job) for job in jobs]
    stage.cancel(jobs[2].id)
    stage.settle()
    assert [onlooker.places for onlooker in onlookers] == [[0], [0], [1, 1, 0], [2, 1]]
    urgent = stage.submit(WIDE, priority=9)
    stage.pass_time(watches.WATCH_SECONDS)
    assert onlookers[3].places == [2, 1, 2]
    stage.finish(jobs[0], WIDE)
    stage.pass_time(watches.WATCH_SECONDS)
    assert urgent.state is State.RUNNING
    assert [onlooker.places[-1] for onlooker in onlookers] == [0, 0, 0, 1]


def test_who_comes_between_two_passes_misses_no_place(stage: Stage) -> None:
    """The second onlooker is told another place than the first, to which the queue comes back."""
    jobs = started(stage, count=3)
    first = Onlooker(stage, jobs[2])
    places = [Onlooker(stage, jobs[2])]
    for _ in range(2):
        urgent = stage.submit(WIDE, priority=9)
        places.append(Onlooker(stage, jobs[2]))
        stage.cancel(urgent.id)
        stage.settle()
    stage.pass_time(watches.WATCH_SECONDS)
    assert {onlooker.places[-1] for onlooker in (first, *places)} == {stage.bench.board.position(jobs[2])}


def test_passes_rest_longer_after_waking_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "WATCHERS_PER_SECOND", 4)
    jobs = started(stage, count=6)
    onlookers = [Onlooker(stage, job) for job in jobs[2:]]
    stage.cancel(jobs[1].id)
    stage.settle()
    told = [onlooker.places[-1] for onlooker in onlookers]
    assert told == [0, 1, 2, 3]
    stage.cancel(jobs[2].id)
    stage.pass_time(0.9)
    assert [onlooker.places[-1] for onlooker in onlookers[1:]] == told[1:]
    stage.pass_time(0.1)
    assert [onlooker.places[-1] for onlooker in onlookers[1:]] == [0, 1, 2]
    assert len(onlookers[0].told) == 4, "its own states are told whatever the pace"


# ---------------------------------------------------------------------- nothing is left


@pytest.mark.parametrize("what", ["figures", "places"])
def test_who_leaves_leaves_nothing_behind(stage: Stage, what: str) -> None:
    jobs = started(stage, count=3)
    onlookers = [Onlooker(stage, job) for job in (*jobs, jobs[0])]
    board = stage.bench.board
    assert repr(board.watches) == "<Watches 4 of 3 jobs, quiet>"
    feeder = stage.attach(jobs[0], WIDE)
    stage.pass_time(watches.WATCH_SECONDS)
    for frame in feeder.frames(feeder.wants[0])[:2]:
        if what == "figures":
            feeder.call.send(frame)
        else:
            stage.submit(WIDE)
        stage.settle()
    assert repr(board.watches) == "<Watches 4 of 3 jobs, a pass is due>"
    for count, onlooker in zip((3, 2, 1), onlookers, strict=False):
        onlooker.task.cancel()
        stage.settle()
        assert repr(board.watches).startswith(f"<Watches {count} of ")
    onlookers[3].task.cancel()
    stage.settle()
    assert repr(board.watches) == "<Watches 0 of 0 jobs, quiet>"


def test_nothing_is_due_while_nobody_watches(stage: Stage) -> None:
    jobs = started(stage, count=3)
    stage.attach(jobs[0], WIDE).answer()
    stage.cancel(jobs[1].id)
    stage.settle()
    assert repr(stage.bench.board.watches) == "<Watches 0 of 0 jobs, quiet>"


def test_an_end_leaves_nothing_behind(stage: Stage) -> None:
    (job,) = started(stage, SUM)
    Onlooker(stage, job)
    stage.finish(job, SUM)
    assert repr(stage.bench.board.watches) == "<Watches 0 of 0 jobs, quiet>"
