"""Statuses as the server tells them."""

from __future__ import annotations

import pytest

from arraymill import JobState
from arraymill._job_info import ENDS, failure_of, job_status
from arraymill_proto.errors import (
    ArraymillError,
    BusyError,
    DeadlineError,
    InternalError,
    JobCancelledError,
    ResultExpiredError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb


def test_every_field() -> None:
    message = pb.Job(
        id="7",
        key="k",
        state=pb.JOB_SUCCEEDED,
        priority=9,
        age_seconds=1.5,
        position=3,
        input_bytes=100,
        received_bytes=50,
        blocks_done=2,
        blocks=4,
        results=[pb.ArrayInfo(id="r", type=pb.ArrayType(dtype=pb.FLOAT32, shape=[2, 3]), bytes=24)],
        times=pb.JobTimes(total=2.0, passes=1),
    )
    status = job_status(message)
    assert (status.id, status.key, status.state, status.priority) == ("7", "k", JobState.SUCCEEDED, 9)
    assert (status.age_seconds, status.deadline_in_seconds, status.position) == (1.5, None, 3)
    assert (status.input_bytes, status.received_bytes, status.blocks_done, status.blocks) == (100, 50, 2, 4)
    assert status.times is not None
    assert status.times.total == 2.0
    assert status.error is None
    assert status.results[0].shape == (2, 3)
    (handle,) = status.handles
    assert (handle.id, handle.shape, handle.dtype.name) == ("r", (2, 3), "float32")
    assert status == job_status(message)
    assert job_status(pb.Job(deadline_in_seconds=4)).deadline_in_seconds == 4
    queued = job_status(pb.Job(state=pb.JOB_QUEUED, needed_bytes=8192, free_bytes=4096))
    assert (queued.needed_bytes, queued.free_bytes) == (8192, 4096)


@pytest.mark.parametrize("name", pb.JobState.keys())
def test_every_state_of_the_wire_is_known(name: str) -> None:
    status = job_status(pb.Job(state=name))
    assert (status.state is JobState.UNKNOWN) == (name == "JOB_STATE_UNSPECIFIED")
    assert status.has_ended == (name in {"JOB_SUCCEEDED", "JOB_FAILED", "JOB_CANCELLED", "JOB_EXPIRED"})
    assert status.has_ended == (status.state in ENDS)


def failed(**error: object) -> ArraymillError:
    failure = failure_of(job_status(pb.Job(id="7", state=pb.JOB_FAILED, error=pb.JobError(**error))))  # type: ignore[arg-type]
    assert failure is not None
    return failure


def test_a_failure_is_what_the_server_raised() -> None:
    error = failed(reason="DEADLINE", message="too late", details={"deadline_seconds": "5", "message": "evil"})
    assert type(error) is DeadlineError
    assert (str(error), error.details) == ("too late", {"deadline_seconds": "5"})
    assert type(failed(reason="BUSY", message="full", details={"retry_after": "x"})) is BusyError


def test_a_failure_for_a_reason_of_a_later_version() -> None:
    error = failed(reason="MELTED", message="too hot")
    assert type(error) is ArraymillError
    assert str(error) == "too hot (MELTED)"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (pb.JOB_CANCELLED, JobCancelledError),
        (pb.JOB_STOPPING, JobCancelledError),
        (pb.JOB_EXPIRED, ResultExpiredError),
        (pb.JOB_FAILED, InternalError),
        (pb.JOB_QUEUED, type(None)),
        (pb.JOB_RUNNING, type(None)),
        (pb.JOB_SUCCEEDED, type(None)),
    ],
)
def test_what_a_state_means_for_who_wants_the_result(state: pb.JobState, kind: type) -> None:
    assert type(failure_of(job_status(pb.Job(id="7", state=state)))) is kind
