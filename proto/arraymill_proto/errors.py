"""Every error that can cross the wire: one reason, one exception class, one gRPC status.

The tree (fault; can a retry help?)::

    ArraymillError
    ├── InvalidJobError(ValueError)            the caller's; no
    │   ├── AxisError(numpy.exceptions.AxisError)
    │   ├── ShapeError
    │   ├── GraphError
    │   ├── ParameterError(TypeError)
    │   ├── IntegerOverflowError(OverflowError)
    │   ├── UnknownOperationError(NotImplementedError)
    │   └── FrameError
    ├── DTypeError(TypeError)                  the caller's; no
    ├── ComputationError(ValueError)           the caller's values; no
    ├── TooLargeError(MemoryError)             the job can never fit this server; no
    ├── BusyError                              nobody's; yes, after `retry_after` seconds
    ├── ArrayNotFoundError(LookupError)        the caller's, or the array expired; no
    ├── ArrayExistsError(ValueError)           the caller's; no
    ├── JobNotFoundError(LookupError)          the caller's, or the job was deleted; no
    ├── ResultExpiredError(LookupError)        nobody came for the result in time; submit again
    ├── JobKeyError(ValueError)                the caller's: the key is another job's; no
    ├── JobEndedError                          the job has ended already; no
    ├── JobTakenError                          nobody's: another client feeds the job; only if that one stops
    ├── DeadlineError(TimeoutError)            the deadline passed; yes, with more time
    ├── CorruptedError                         the wire's; yes
    ├── JobCancelledError                      somebody cancelled the job; yes
    ├── ConnectionFailedError(ConnectionError) the network's or the server's; yes
    ├── IncompatibleServerError                versions; no, upgrade one side
    ├── WorkerError                            the job killed its workers; no
    └── InternalError                          the server's; perhaps

Both sides raise the same classes: the server raises them and its rpc layer turns `reason` into a status, the client
turns the reason back into the class.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import ClassVar, Final, Self

import numpy as np

DOMAIN: Final = "arraymill"
"""The domain of google.rpc.ErrorInfo."""


@unique
class Reason(StrEnum):
    """Stable machine-readable reasons: the `reason` of google.rpc.ErrorInfo."""

    INVALID_JOB = "INVALID_JOB"
    AXIS = "AXIS"
    SHAPE = "SHAPE"
    GRAPH = "GRAPH"
    PARAMETER = "PARAMETER"
    INTEGER_OVERFLOW = "INTEGER_OVERFLOW"
    UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
    FRAME = "FRAME"
    DTYPE = "DTYPE"
    COMPUTATION = "COMPUTATION"
    TOO_LARGE = "TOO_LARGE"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    BUSY = "BUSY"
    ARRAY_NOT_FOUND = "ARRAY_NOT_FOUND"
    ARRAY_EXISTS = "ARRAY_EXISTS"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    RESULT_EXPIRED = "RESULT_EXPIRED"
    JOB_KEY = "JOB_KEY"
    JOB_ENDED = "JOB_ENDED"
    JOB_TAKEN = "JOB_TAKEN"
    DEADLINE = "DEADLINE"
    CORRUPTED = "CORRUPTED"
    CANCELLED = "CANCELLED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    UNAVAILABLE = "UNAVAILABLE"
    INCOMPATIBLE = "INCOMPATIBLE"
    WORKER = "WORKER"
    INTERNAL = "INTERNAL"


class ArraymillError(Exception):
    """Root of all errors of arraymill.

    Attributes:
        reason: The stable reason.
        details: Numbers and names that belong to the message, as text; they travel as ErrorInfo.metadata.
    """

    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(self, message: str, *, reason: Reason | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = self.default_reason if reason is None else reason
        self.details = {key: str(value) for key, value in details.items()}

    def __str__(self) -> str:
        return self.message

    def located(self, where: str, **details: object) -> Self:
        """Return the same error with its place put before the message, and further details."""
        return type(self)(f"{where}{self.message}", reason=self.reason, **{**self.details, **details})


class InvalidJobError(ArraymillError, ValueError):
    """The job is not valid. The caller's fault; a retry cannot help."""

    default_reason = Reason.INVALID_JOB


class AxisError(InvalidJobError, np.exceptions.AxisError):
    """An axis is out of range or named twice.

    Attributes:
        axis: The axis, from the detail of this name.
        ndim: The dimensions of the array, from the detail of this name.
    """

    default_reason = Reason.AXIS

    def __init__(self, message: str, *, reason: Reason | None = None, **details: object) -> None:
        InvalidJobError.__init__(self, message, reason=reason, **details)
        self.axis = _integer(self.details.get("axis"))
        self.ndim = _integer(self.details.get("ndim"))


def _integer(text: str | None) -> int | None:
    """Read a detail that another language may have written."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


class ShapeError(InvalidJobError):
    """Shapes do not broadcast, are negative, overflow, or do not match the bytes."""

    default_reason = Reason.SHAPE


class GraphError(InvalidJobError):
    """The expression graph is malformed: a forward reference, no output, too many nodes."""

    default_reason = Reason.GRAPH


class ParameterError(InvalidJobError, TypeError):
    """A parameter is unknown to its operation, of a wrong type, or out of bounds.

    A ValueError and a TypeError: NumPy raises the one or the other for such calls.
    """

    default_reason = Reason.PARAMETER


class IntegerOverflowError(InvalidJobError, OverflowError):
    """A Python integer does not fit the dtype that it has to adapt to."""

    default_reason = Reason.INTEGER_OVERFLOW


class UnknownOperationError(InvalidJobError, NotImplementedError):
    """The catalogue has no such operation."""

    default_reason = Reason.UNKNOWN_OPERATION


class FrameError(InvalidJobError):
    """A frame is missing, overlaps, lies beyond the end, or serves nothing that was asked for."""

    default_reason = Reason.FRAME


class DTypeError(ArraymillError, TypeError):
    """A dtype is not supported, or the operation is not defined for it. The caller's fault."""

    default_reason = Reason.DTYPE


class ComputationError(ArraymillError, ValueError):
    """NumPy refused the values, as it would in process (integers to negative powers)."""

    default_reason = Reason.COMPUTATION


class TooLargeError(ArraymillError, MemoryError):
    """The job can never fit this server, or the result does not fit this call."""

    default_reason = Reason.TOO_LARGE


class BusyError(ArraymillError):
    """The server is full; try again after `retry_after` seconds (google.rpc.RetryInfo on the wire)."""

    default_reason = Reason.BUSY

    def __init__(
        self, message: str, *, reason: Reason | None = None, retry_after: float | str = 1.0, **details: object
    ) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after, **details)
        self.retry_after = float(retry_after)


class ArrayNotFoundError(ArraymillError, LookupError):
    """No resident array has this id or name: never made, deleted, or expired."""

    default_reason = Reason.ARRAY_NOT_FOUND


class ArrayExistsError(ArraymillError, ValueError):
    """A resident array of this name exists already."""

    default_reason = Reason.ARRAY_EXISTS


class JobNotFoundError(ArraymillError, LookupError):
    """No submitted job has this id: never submitted here, deleted, or ended long ago."""

    default_reason = Reason.JOB_NOT_FOUND


class ResultExpiredError(ArraymillError, LookupError):
    """The job has succeeded, but its results were deleted or not used for their time to live."""

    default_reason = Reason.RESULT_EXPIRED


class JobKeyError(ArraymillError, ValueError):
    """The key names a job with another expression, or with other arrays."""

    default_reason = Reason.JOB_KEY


class JobEndedError(ArraymillError):
    """The job has ended: it can neither be cancelled nor fed any more."""

    default_reason = Reason.JOB_ENDED


class JobTakenError(ArraymillError):
    """Another client brings the input of the job now. Keep yours until the job has ended: that one may stop."""

    default_reason = Reason.JOB_TAKEN


class DeadlineError(ArraymillError, TimeoutError):
    """The deadline passed before the job ended; the server has stopped its work."""

    default_reason = Reason.DEADLINE


class CorruptedError(ArraymillError):
    """Bytes of an array arrived other than they were sent. A retry can help."""

    default_reason = Reason.CORRUPTED


class JobCancelledError(ArraymillError):
    """The job was cancelled by somebody else than this caller."""

    default_reason = Reason.CANCELLED


class ConnectionFailedError(ArraymillError, ConnectionError):
    """No server answers at the address, or the connection was lost. A retry can help."""

    default_reason = Reason.UNAVAILABLE


class IncompatibleServerError(ArraymillError):
    """Client and server speak different protocols; upgrade the older one."""

    default_reason = Reason.INCOMPATIBLE


class WorkerError(ArraymillError):
    """A task of the job killed every worker that tried it."""

    default_reason = Reason.WORKER


class InternalError(ArraymillError):
    """A defect of the server; the message bears an id that the server's log also bears."""

    default_reason = Reason.INTERNAL


ERRORS: Final[dict[Reason, type[ArraymillError]]] = {
    Reason.INVALID_JOB: InvalidJobError,
    Reason.AXIS: AxisError,
    Reason.SHAPE: ShapeError,
    Reason.GRAPH: GraphError,
    Reason.PARAMETER: ParameterError,
    Reason.INTEGER_OVERFLOW: IntegerOverflowError,
    Reason.UNKNOWN_OPERATION: UnknownOperationError,
    Reason.FRAME: FrameError,
    Reason.DTYPE: DTypeError,
    Reason.COMPUTATION: ComputationError,
    Reason.TOO_LARGE: TooLargeError,
    Reason.RESULT_TOO_LARGE: TooLargeError,
    Reason.BUSY: BusyError,
    Reason.ARRAY_NOT_FOUND: ArrayNotFoundError,
    Reason.ARRAY_EXISTS: ArrayExistsError,
    Reason.JOB_NOT_FOUND: JobNotFoundError,
    Reason.RESULT_EXPIRED: ResultExpiredError,
    Reason.JOB_KEY: JobKeyError,
    Reason.JOB_ENDED: JobEndedError,
    Reason.JOB_TAKEN: JobTakenError,
    Reason.DEADLINE: DeadlineError,
    Reason.CORRUPTED: CorruptedError,
    Reason.CANCELLED: JobCancelledError,
    Reason.SHUTTING_DOWN: ConnectionFailedError,
    Reason.UNAVAILABLE: ConnectionFailedError,
    Reason.INCOMPATIBLE: IncompatibleServerError,
    Reason.WORKER: WorkerError,
    Reason.INTERNAL: InternalError,
}
"""The class of each reason; a test proves that the table is total."""

STATUS: Final[dict[Reason, str]] = {
    Reason.INVALID_JOB: "INVALID_ARGUMENT",
    Reason.AXIS: "INVALID_ARGUMENT",
    Reason.SHAPE: "INVALID_ARGUMENT",
    Reason.GRAPH: "INVALID_ARGUMENT",
    Reason.PARAMETER: "INVALID_ARGUMENT",
    Reason.INTEGER_OVERFLOW: "INVALID_ARGUMENT",
    Reason.UNKNOWN_OPERATION: "UNIMPLEMENTED",
    Reason.FRAME: "INVALID_ARGUMENT",
    Reason.DTYPE: "INVALID_ARGUMENT",
    Reason.COMPUTATION: "INVALID_ARGUMENT",
    Reason.TOO_LARGE: "RESOURCE_EXHAUSTED",
    Reason.RESULT_TOO_LARGE: "FAILED_PRECONDITION",
    Reason.BUSY: "RESOURCE_EXHAUSTED",
    Reason.ARRAY_NOT_FOUND: "NOT_FOUND",
    Reason.ARRAY_EXISTS: "ALREADY_EXISTS",
    Reason.JOB_NOT_FOUND: "NOT_FOUND",
    Reason.RESULT_EXPIRED: "NOT_FOUND",
    Reason.JOB_KEY: "ALREADY_EXISTS",
    Reason.JOB_ENDED: "FAILED_PRECONDITION",
    Reason.JOB_TAKEN: "FAILED_PRECONDITION",
    Reason.DEADLINE: "DEADLINE_EXCEEDED",
    Reason.CORRUPTED: "DATA_LOSS",
    Reason.CANCELLED: "CANCELLED",
    Reason.SHUTTING_DOWN: "UNAVAILABLE",
    Reason.UNAVAILABLE: "UNAVAILABLE",
    Reason.INCOMPATIBLE: "FAILED_PRECONDITION",
    Reason.WORKER: "ABORTED",
    Reason.INTERNAL: "INTERNAL",
}
"""The canonical gRPC status of each reason, by its name."""
