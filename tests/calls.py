"""Calls in the raw: one message to a method of a server, its answer or its failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from arraymill_proto.v1 import arraymill_pb2 as pb

SERVICE = "/arraymill.v1.Arraymill/"
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed call says."""

    code: grpc.StatusCode
    text: str
    reason: str
    """Of google.rpc.ErrorInfo; empty: gRPC itself says it."""
    numbers: dict[str, str]
    retry_seconds: float | None


async def ask(channel: grpc.aio.Channel, method: str, request: Any, answer: Any, **options: Any) -> Any:
    """Make a unary call; raises AioRpcError."""
    path = method if method.startswith("/") else SERVICE + method
    make: Any = channel.unary_unary
    stub = make(path, request_serializer=None, response_deserializer=answer.FromString)
    message = request if isinstance(request, bytes) else request.SerializeToString()
    return await stub(message, timeout=SECONDS, **options)


def watch(channel: grpc.aio.Channel, method: str, request: Any, answer: Any) -> Any:
    """Open a stream of the server's."""
    path = method if method.startswith("/") else SERVICE + method
    make: Any = channel.unary_stream
    return make(path, request_serializer=None, response_deserializer=answer.FromString)(request.SerializeToString())


async def info(channel: grpc.aio.Channel) -> pb.ServerInfo:
    """Ask a server for its information."""
    told: pb.ServerInfo = await ask(channel, "GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo)
    return told


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Read what a failed call says."""
    reason, numbers, retry_seconds = "", dict[str, str](), None
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                told, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
                if detail.Unpack(told):
                    reason, numbers = told.reason, dict(told.metadata)
                elif detail.Unpack(retry):
                    retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return Failure(error.code(), error.details() or "", reason, numbers, retry_seconds)


async def refusal(channel: grpc.aio.Channel, method: str, request: Any, answer: Any) -> Failure:
    """Make a unary call that must fail."""
    try:
        told = await ask(channel, method, request, answer)
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError(f"{method} was answered: {told}")
