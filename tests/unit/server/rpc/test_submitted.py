"""The calls of submitted jobs, and whoever feeds one."""

from __future__ import annotations

import pytest
from boards import STALL_SECONDS, SUM, WIDE, Stage

from arraymill_proto.errors import DeadlineError
from arraymill_server.jobs.life import State
from arraymill_server.rpc import lanes


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of progress after every block."""
    monkeypatch.setattr(lanes, "PROGRESS_SECONDS", 0.0)


@pytest.mark.usefixtures("talkative")
def test_who_reads_slowly_hears_of_the_end_after_all_that_came_before(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.call.pause()
    feeder.answer()
    stage.work()
    assert job.state is State.SUCCEEDED
    assert "progress" not in feeder.kinds
    feeder.call.resume()
    stage.settle()
    assert feeder.error is None
    assert feeder.kinds[-2:] == ["progress", "done"]


@pytest.mark.usefixtures("talkative")
def test_who_does_not_read_the_end_is_not_waited_for(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    feeder.call.pause()
    feeder.answer()
    stage.work()
    assert not feeder.task.done()
    stage.pass_time(STALL_SECONDS + 1)
    assert isinstance(feeder.error, DeadlineError)
    assert "does not read the end of its job" in str(feeder.error)
    assert job.state is State.SUCCEEDED


def test_who_feeds_a_job_that_fails_in_the_queue_hears_of_it(stage: Stage) -> None:
    """Its exchange was never started, and has nothing to say."""
    first, second = (stage.submit(WIDE, deadline_seconds=5.0) for _ in range(2))
    assert [first.state, second.state] == [State.RUNNING, State.QUEUED]
    feeder = stage.attach(second, WIDE)
    stage.pass_time(6.0)
    assert [first.state, second.state] == [State.FAILED] * 2
    assert isinstance(feeder.error, DeadlineError)
