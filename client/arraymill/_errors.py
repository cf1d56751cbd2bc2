"""From gRPC's statuses to exceptions: the one boundary where errors are mapped, by table.

A server's error carries google.rpc.ErrorInfo with a stable reason, which names the class. Statuses without one come
from gRPC itself (nobody listens, the connection broke) or from something that is no arraymill server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from arraymill_proto.errors import (
    DOMAIN,
    ERRORS,
    ArrayExistsError,
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    IncompatibleServerError,
    InternalError,
    InvalidJobError,
    JobCancelledError,
    Reason,
    TooLargeError,
    WorkerError,
)

_DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata in which gRPC carries google.rpc.Status."""

_RESERVED: Final = frozenset({"message", "reason", "self", "retry_after"})
"""Names that details cannot have: they are parameters of the exceptions. RetryInfo gives `retry_after`."""

_NO_ANSWER: Final = "no connection to {address}: {details}; is the server running? Start one with: arraymill serve"
_NOT_OURS: Final = "what answers at {address} is no arraymill server, or another version of it: {details}"
_DEFECT: Final = "the server at {address} failed: {details}"
_REFUSED: Final = "the server at {address} refused the job: {details}"

UNEXPLAINED: Final[dict[grpc.StatusCode, tuple[type[ArraymillError], str]]] = {
    grpc.StatusCode.OK: (InternalError, "the call ended without an answer ({address})"),
    grpc.StatusCode.CANCELLED: (JobCancelledError, "the job was cancelled by the server at {address}: {details}"),
    grpc.StatusCode.UNKNOWN: (InternalError, _DEFECT),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidJobError, _REFUSED),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineError, "the deadline passed before {address} answered: {details}"),
    grpc.StatusCode.NOT_FOUND: (ArrayNotFoundError, _REFUSED),
    grpc.StatusCode.ALREADY_EXISTS: (ArrayExistsError, _REFUSED),
    grpc.StatusCode.PERMISSION_DENIED: (ConnectionFailedError, "{address} denies access: {details}"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (BusyError, "{address} has no room for this call: {details}"),
    grpc.StatusCode.FAILED_PRECONDITION: (InvalidJobError, _REFUSED),
    grpc.StatusCode.ABORTED: (WorkerError, _DEFECT),
    grpc.StatusCode.OUT_OF_RANGE: (InvalidJobError, _REFUSED),
    grpc.StatusCode.UNIMPLEMENTED: (IncompatibleServerError, _NOT_OURS),
    grpc.StatusCode.INTERNAL: (InternalError, _DEFECT),
    grpc.StatusCode.UNAVAILABLE: (ConnectionFailedError, _NO_ANSWER),
    grpc.StatusCode.DATA_LOSS: (ConnectionFailedError, "the connection to {address} lost data: {details}"),
    grpc.StatusCode.UNAUTHENTICATED: (ConnectionFailedError, "{address} wants credentials: {details}"),
}
"""The class and the message of a status that carries no reason; a test proves that the table is total."""


_BROKEN_DETAILS: Final = "Internal error from Core"
"""What grpc.aio says, with status INTERNAL, when the connection breaks while it hands a message to its core. Servers of
ours never send it: their errors carry a reason."""

_BROKEN: Final = (ConnectionFailedError, "the connection to {address} broke; is the server still running?")

_TOO_LONG: Final = "message larger than max"
"""What gRPC says, with status RESOURCE_EXHAUSTED, of a message that neither side would ever send or take."""

_TOO_LARGE: Final = "a message of the call to {address} is too long: {details}"


_CAUSES: Final = (
    ("Connection refused", "nothing listens there"),
    ("No such file or directory", "there is no such socket"),
    ("DNS resolution failed", "the name of the host is unknown"),
    ("errors resolving", "the name of the host is unknown"),
    ("Permission denied", "the socket belongs to somebody else"),
    ("No route to host", "the host cannot be reached"),
    ("Network is unreachable", "the network cannot be reached"),
    ("imed out", "the host does not answer"),
    ("Timeout occurred", "the host does not answer"),
    ("Connection reset", "the connection broke"),
    ("Broken pipe", "the connection broke"),
    ("Socket closed", "the connection was closed"),
)
"""What gRPC says of a connection that failed or broke, and what that means."""

_CORE_PREFIX: Final = "failed to connect to all addresses; last error: "


def _plain_cause(details: str) -> str:
    """Return in plain words why there is no connection; gRPC's own where they are of a kind that is not known."""
    known = next((words for text, words in _CAUSES if text in details), None)
    return details.removeprefix(_CORE_PREFIX) if known is None else known


@dataclass(slots=True)
class Explanation:
    """What google.rpc details say of an error."""

    reason: Reason | None = None
    details: dict[str, str] = field(default_factory=dict[str, str])
    retry_after: float | None = None
    """Seconds after which the server asks to try again."""


@contextmanager
def arraymill_errors(address: str) -> Generator[None]:
    """Turn what gRPC raises into exceptions of arraymill; cancellation passes through."""
    try:
        yield
    except grpc.aio.AioRpcError as exc:
        raise from_rpc_error(exc, address) from exc
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as exc:
        raise ConnectionFailedError(f"the client of {address} is closed") from exc


class RpcError(Protocol):
    """What a failed call says, of `grpc.aio` or of `grpc`."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[Any] | None: ...


def from_rpc_error(error: RpcError, address: str) -> ArraymillError:
    """Return the exception that a failed call means."""
    message = error.details() or error.code().name
    explanation = _explain(error)
    if explanation.reason is None:
        kind, template = _BROKEN if message == _BROKEN_DETAILS else UNEXPLAINED[error.code()]
        if _TOO_LONG in message:
            kind, template = TooLargeError, _TOO_LARGE
        message = _plain_cause(message) if template is _NO_ANSWER else message
        return kind(template.format(address=address, details=message), grpc_status=error.code().name)
    return error_of(explanation.reason, message, explanation.details, explanation.retry_after)


def from_status(serialized: bytes, address: str) -> ArraymillError:
    """Return the exception that a serialized google.rpc.Status means, of a job that shared its call with others."""
    from google.rpc import status_pb2  # noqa: PLC0415  # loaded at the first error

    explanation = read_status(serialized)
    if explanation.reason is not None:
        message = status_pb2.Status.FromString(serialized).message
        return error_of(explanation.reason, message, explanation.details, explanation.retry_after)
    return InternalError(_DEFECT.format(address=address, details="it has sent an error that cannot be read"))


def error_of(
    reason: Reason, message: str, details: Mapping[str, str], retry_after: float | None = None
) -> ArraymillError:
    """Return the exception of a reason.

    Args:
        reason: Of a failed call, or of a submitted job that failed.
        message: The server's.
        details: Those that bear the names of parameters are left out.
        retry_after: Seconds, for BusyError.
    """
    kind, kept = ERRORS[reason], {key: text for key, text in details.items() if key not in _RESERVED}
    if issubclass(kind, BusyError) and retry_after is not None:
        kept["retry_after"] = str(retry_after)
    return kind(message, reason=reason, **kept)


def is_told(error: object) -> bool:
    """Tell whether a call has failed with what an arraymill server said, and not with what gRPC made up here."""
    return isinstance(error, grpc.aio.AioRpcError) and _explain(error).reason is not None


def _explain(error: RpcError) -> Explanation:
    """Read google.rpc.Status from the trailing metadata; whatever cannot be read explains nothing."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return read_status(value)
    return Explanation()


def read_status(serialized: bytes) -> Explanation:
    """Read a serialized google.rpc.Status."""
    # Loaded at the first error: `import arraymill` does not pay for it.
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415

    explanation = Explanation()
    try:
        for detail in status_pb2.Status.FromString(serialized).details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                explanation.reason = Reason.__members__.get(info.reason)
                explanation.details = dict(info.metadata)
            elif detail.Unpack(retry):
                explanation.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    except DecodeError:
        return Explanation()
    return explanation
