"""Errors to gRPC statuses: the only place where one becomes the other.

A declared error (`ArraymillError`) crosses with its message, its reason and its details. A lack of workers is the
operator's to look at: the client is told to try again. Anything else is a defect: it is logged with an id, and the
client learns the id and nothing else.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import (
    to_status,  # pyright: ignore[reportUnknownVariableType]  # the stubs do not know google.rpc
)

from arraymill_proto.errors import (
    DOMAIN,
    STATUS,
    ArrayExistsError,
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ConnectionFailedError,
    InternalError,
    Reason,
)
from arraymill_server.engine.base import EngineStartError
from arraymill_server.log import get_logger

CODES: Final = {code.name: code for code in grpc.StatusCode}

GONE: Final = (grpc.aio.InternalError, grpc.aio.UsageError)
"""gRPC's words for a stream that cannot be read or written any more: nobody is there to be answered."""

SUCCESSOR_SECONDS: Final = 0.25
"""What clients of a server that shuts down are told to wait: the next server may listen already."""

_log = get_logger(__name__)


def declared(error: BaseException, *, method: str) -> ArraymillError:
    """Return an error that may cross the wire: itself if it is declared, else an InternalError with an id."""
    if isinstance(error, EngineStartError):
        _log.error("no workers", method=method, error=str(error))
        return ConnectionFailedError("the server has no workers left and could not start others; try again later")
    if isinstance(error, ArraymillError) and (not isinstance(error, InternalError) or "error_id" in error.details):
        return error  # an InternalError with an id is in the log already
    number = secrets.token_hex(6)
    _log.error("internal error", error_id=number, method=method, exc_info=error)
    return InternalError(
        f"internal error {number}: a defect of the server; its log tells more under this id", error_id=number
    )


def status_of(error: ArraymillError) -> grpc.Status:
    """Return the status of a declared error, with google.rpc details, as gRPC wants it."""
    return to_status(rpc_status(error))


def rpc_status(error: ArraymillError) -> Status:
    """Return the status of a declared error, with google.rpc details."""
    code = CODES[STATUS[error.reason]]
    status = Status(code=code.value[0], message=error.message)
    for detail in _details(error):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: ArraymillError) -> list[Message]:
    details: list[Message] = [ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.details)]
    if STATUS[error.reason] == "INVALID_ARGUMENT":
        field = error.details.get("parameter", error.details.get("node", ""))
        violation = BadRequest.FieldViolation(field=field, description=error.message)
        details.append(BadRequest(field_violations=[violation]))
    if (seconds := _retry_seconds(error)) is not None:
        delay = Duration()
        delay.FromTimedelta(timedelta(seconds=seconds))
        details.append(RetryInfo(retry_delay=delay))
    if isinstance(error, ArrayNotFoundError | ArrayExistsError):
        name = error.details.get("array", error.details.get("name", ""))
        details.append(ResourceInfo(resource_type="arraymill.v1.ResidentArray", resource_name=name))
    return details


def _retry_seconds(error: ArraymillError) -> float | None:
    """Return when a client should try again, None when it need not."""
    if isinstance(error, BusyError):
        return error.retry_after
    return SUCCESSOR_SECONDS if error.reason is Reason.SHUTTING_DOWN else None
