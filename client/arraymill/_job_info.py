"""What the server tells of a submitted job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from arraymill._array import Handle
from arraymill._errors import error_of
from arraymill._info import ArrayInfo, JobTimes, array_info, job_times
from arraymill_proto.errors import (
    ArraymillError,
    DeadlineError,
    InternalError,
    JobCancelledError,
    Reason,
    ResultExpiredError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb


class JobState(StrEnum):
    """Where a submitted job is in its life: queued, running, then one of the ends."""

    QUEUED = "queued"
    """Waits for memory on the server."""
    RUNNING = "running"
    """Has its memory: receives and computes."""
    STOPPING = "stopping"
    """Was cancelled, and its memory is not free yet."""
    SUCCEEDED = "succeeded"
    """Has ended, and its results are there."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Had succeeded; its results were deleted, or not used for their time to live."""
    UNKNOWN = "unknown"
    """A state of a later version of the server."""


ENDS: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
"""The states in which a job has ended."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A submitted job, as it was when the server was asked."""

    id: str
    key: str
    state: JobState
    priority: int
    """0 to 9; 9 is first."""
    age_seconds: float
    """Since it was submitted."""
    deadline_in_seconds: float | None
    """Until the server stops it; None: it has no deadline, or has ended."""
    position: int
    """Jobs before it in the queue, while it is queued."""
    input_bytes: int
    """Of the inputs that a client has to send, once; 0 where they came with the submission."""
    received_bytes: int
    """More than `input_bytes` where the expression needs several passes."""
    blocks_done: int
    blocks: int
    """Blocks of work in all passes."""
    results: tuple[ArrayInfo, ...]
    """The arrays on the server that hold the values, one for each expression, once it has succeeded. Empty in lists of
    jobs: `AsyncJob.status` tells them."""
    error: ArraymillError | None
    """Why it has failed."""
    times: JobTimes | None
    """Where its time went, once it has ended."""
    needed_bytes: int = 0
    """Memory of the server that it waits for, its results with it, while it is queued."""
    free_bytes: int = 0
    """Memory of the server that is free, while it is queued. There may be enough of it, but not in one piece; or what
    the client keeps there already is its share."""
    result_count: int = 0
    """How many results there are, in lists as well."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing is done for it any more."""
        return self.state in ENDS

    @property
    def handles(self) -> tuple[Handle, ...]:
        """The results as Arrays, to be fetched or used in further expressions."""
        return tuple(Handle(info.id, info.type, info.name) for info in self.results)


class JobNotDoneError(DeadlineError):
    """The time to wait for a submitted job is over, and as far as is known the job goes on: ask again.

    Made by the client only. Any other DeadlineError is not mended by asking again at once: the job's own deadline has
    passed, the server gave its input up, or no answer came.
    """


def job_status(message: pb.Job) -> JobStatus:
    """Read the description of a job."""
    return JobStatus(
        id=message.id,
        key=message.key,
        state=_state(message.state),
        priority=message.priority,
        age_seconds=message.age_seconds,
        deadline_in_seconds=message.deadline_in_seconds or None,
        position=message.position,
        input_bytes=message.input_bytes,
        received_bytes=message.received_bytes,
        blocks_done=message.blocks_done,
        blocks=message.blocks,
        results=tuple(map(array_info, message.results)),
        error=_error(message.error) if message.HasField("error") else None,
        times=job_times(message.times) if message.HasField("times") else None,
        needed_bytes=message.needed_bytes,
        free_bytes=message.free_bytes,
        result_count=message.result_count or len(message.results),
    )


def failure_of(status: JobStatus) -> ArraymillError | None:
    """Return the error that a job without results means; None: it has them, or may have them yet."""
    match status.state:
        case JobState.FAILED:
            return status.error or InternalError(f"job {status.id} has failed; the server does not say why")
        case JobState.CANCELLED | JobState.STOPPING:
            return JobCancelledError(f"job {status.id} was cancelled", job=status.id)
        case JobState.EXPIRED:
            return expired(status.id)
        case _:
            return None


def expired(id: str) -> ResultExpiredError:
    """Return the error of results that are gone."""
    return ResultExpiredError(
        f"the results of job {id} are gone: they were deleted, or not used for their time to live; submit it again",
        job=id,
    )


def _state(number: int) -> JobState:
    try:
        name = pb.JobState.Name(number).removeprefix("JOB_")
    except ValueError:
        return JobState.UNKNOWN
    return JobState.__members__.get(name, JobState.UNKNOWN)


def _error(message: pb.JobError) -> ArraymillError:
    """Read why a job failed; a reason of a later version is left to its words."""
    reason = Reason.__members__.get(message.reason)
    if reason is None:
        return ArraymillError(f"{message.message} ({message.reason})")
    return error_of(reason, message.message, message.details)
