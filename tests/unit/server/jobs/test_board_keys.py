"""Keys: a job that is submitted again is the same job, as long as something may come of it."""

from __future__ import annotations

from typing import Any

import pytest
from boards import LOST, SQRT, SUM, WIDE, Stage

from arraymill_proto.errors import ArrayNotFoundError, ComputationError, DeadlineError, JobKeyError, ParameterError
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob


def test_a_key_is_one_job_as_long_as_it_may_succeed(stage: Stage) -> None:
    job = stage.submit(SUM, key="k")
    assert stage.submit(SUM, client="b", key="k", priority=9, ttl_seconds=3) is job
    with pytest.raises(JobKeyError, match=rf"the key 'k' is that of job {job.id}, which .* and is running") as caught:
        stage.submit(SQRT, key="k")
    assert caught.value.details == {"key": "k", "job": job.id}
    stage.finish(job, SUM)
    assert stage.submit(SUM, key="k") is job
    with pytest.raises(JobKeyError, match="and has succeeded; choose another key"):
        stage.submit(SQRT, key="k")
    assert stage.submit(SUM) is not stage.submit(SUM)


def fail(stage: Stage, job: SubmittedJob) -> None:
    stage.fail(job, SUM, ComputationError("no"))


def cancel(stage: Stage, job: SubmittedJob) -> None:
    stage.cancel(job.id)
    stage.settle()


def expire(stage: Stage, job: SubmittedJob) -> None:
    stage.finish(job, SUM)
    stage.pass_time(101)


def delete(stage: Stage, job: SubmittedJob) -> None:
    stage.finish(job, SUM)
    stage.bench.board.delete(job.id)


@pytest.mark.parametrize("end", [fail, cancel, expire, delete])
def test_a_key_is_free_again_when_nothing_comes_of_its_job(stage: Stage, end: Any) -> None:
    job = stage.submit(SUM, key="k")
    end(stage, job)
    again = stage.submit(SQRT, key="k")
    assert again is not job
    assert stage.submit(SQRT, key="k") is again
    if end is not delete:
        stage.bench.board.delete(job.id)
    assert stage.submit(SQRT, key="k") is again, "to delete the old one frees nothing"


def test_who_joins_a_job_that_is_refused_in_the_same_turn_is_judged_for_himself(stage: Stage) -> None:
    bad = stage.begin(stage.bench.submit(SUM, key="k", ttl_seconds=-1))
    good = stage.begin(stage.bench.submit(SUM, key="k"))
    stage.settle()
    assert isinstance(bad.exception(), ParameterError)
    assert stage.bench.get(good.result().id).state is State.RUNNING
    assert len(stage.bench.board.ledger.page()[0]) == 1


def test_two_of_one_key_in_one_turn_are_one_job_or_both_refused(stage: Stage) -> None:
    both = [stage.begin(stage.bench.submit(SUM, client, key="k")) for client in "ab"]
    stage.settle()
    assert both[0].result().id == both[1].result().id
    both = [stage.begin(stage.bench.submit(LOST, client, key="l")) for client in "ab"]
    stage.settle()
    errors = [task.exception() for task in both]
    assert all(isinstance(error, ArrayNotFoundError) for error in errors)
    assert errors[0] is not errors[1]
    assert len(stage.bench.board.ledger.page()[0]) == 1


def test_a_job_that_fails_in_the_queue_while_another_joins_it_is_not_forgotten(stage: Stage) -> None:
    """Its first client has its id already."""
    stage.submit(WIDE)
    second = stage.submit(WIDE, key="k", deadline_seconds=5.0)
    assert second.state is State.QUEUED
    stage.loop.advance(6.0)
    joining = stage.begin(stage.bench.submit(WIDE, key="k"))
    stage.settle()
    assert (second.state, joining.result().id) == (State.FAILED, second.id)
    assert stage.bench.get(second.id) is second
    assert isinstance(second.error, DeadlineError)
