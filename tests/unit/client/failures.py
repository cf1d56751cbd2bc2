"""Failed calls as a server tells them."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from arraymill_proto.errors import DOMAIN, STATUS, ArraymillError, BusyError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def fail(context: Context, error: ArraymillError) -> NoReturn:
    """End a call as a server does, with google.rpc.ErrorInfo."""
    retry_seconds = error.retry_after if isinstance(error, BusyError) else None
    metadata = (("grpc-status-details-bin", status_bytes(error, retry_seconds=retry_seconds)),)
    await context.abort(grpc.StatusCode[STATUS[error.reason]], error.message, trailing_metadata=metadata)
    raise AssertionError("abort returns")


def status_bytes(error: ArraymillError, domain: str = DOMAIN, retry_seconds: float | None = None) -> bytes:
    """A serialized google.rpc.Status that explains an error."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=domain, metadata=error.details)
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo] = [info]
    if retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = [any_pb2.Any() for _ in details]
    for target, detail in zip(packed, details, strict=True):
        target.Pack(detail)
    code: int = grpc.StatusCode[STATUS[error.reason]].value[0]
    serialized: bytes = status_pb2.Status(code=code, message=error.message, details=packed).SerializeToString()
    return serialized
