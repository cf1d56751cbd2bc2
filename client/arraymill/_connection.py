"""One gRPC channel to one server: opened at the first call, its protocol checked once, its failures typed."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import grpc.aio

from arraymill._errors import arraymill_errors
from arraymill_proto.errors import ConnectionFailedError, DeadlineError, IncompatibleServerError
from arraymill_proto.limits import MESSAGE_BYTES, OLDEST_PROTOCOL, PROTOCOL
from arraymill_proto.v1 import arraymill_pb2 as pb

RawStream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"

_SERVICE: Final = "/arraymill.v1.Arraymill/"

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # A peer that vanished without a word is noticed within 40 s; gRPC's default is never.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is ready within 2 s; by default calls would fail at once for up to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Clients do not share connections: closing one must not touch another.
    ("grpc.use_local_subchannel_pool", 1),
)


class _Serializable(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802  # protobuf's name


Answer = TypeVar("Answer")


class Connection:
    """A channel of its own: clients do not share connections.

    The first call asks the server for its information: that proves that a server is there, and checks its protocol.
    All concurrent callers share that one question.
    """

    def __init__(self, address: str, *, connect_timeout: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            address: In the form of `_address.resolve`.
            connect_timeout: Seconds in which the server must have answered the first question.
        """
        self.address = address
        self.is_closed = False
        self._connect_timeout = connect_timeout
        self._channel: grpc.aio.Channel | None = None
        self._check: asyncio.Task[pb.ServerInfo] | None = None

    async def ready(self) -> pb.ServerInfo:
        """Connect and check the protocol, unless that was done.

        Cancelling one waiter leaves the question to the others.

        Returns:
            What the server said of itself when it was asked.

        Raises:
            ConnectionFailedError: No server answers in time.
            IncompatibleServerError: Client and server speak different protocols.
        """
        if self._check is None or (self._check.done() and (self._check.cancelled() or self._check.exception())):
            self._check = asyncio.create_task(self._ask())
        return await asyncio.shield(self._check)

    async def call(self, method: str, request: _Serializable, answer: type[Answer], timeout: float | None) -> Answer:
        """Make a unary call; cancelling it cancels the call.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        with arraymill_errors(self.address):
            stub: Any = self._open().unary_unary(
                _SERVICE + method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,  # type: ignore[attr-defined]
            )
            response: Answer = await stub(request, timeout=timeout)
            return response

    def stream(self, method: str, timeout: float | None) -> RawStream:
        """Open a bidirectional stream of raw messages."""
        with arraymill_errors(self.address):
            stub: Any = self._open().stream_stream(
                _SERVICE + method, request_serializer=None, response_deserializer=None
            )
            call: RawStream = stub(timeout=timeout)
            return call

    async def close(self) -> None:
        """Close the channel; calls that are under way fail."""
        self.is_closed = True
        if self._check is not None:
            self._check.cancel()
            await asyncio.wait([self._check])
            if not self._check.cancelled():
                self._check.exception()
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self.is_closed:
            raise ConnectionFailedError(f"the client of {self.address} is closed")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        return self._channel

    async def _ask(self) -> pb.ServerInfo:
        try:
            info = await self.call("GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo, self._connect_timeout)
        except DeadlineError as exc:
            raise ConnectionFailedError(f"{self.address} did not answer within {self._connect_timeout:g} s") from exc
        _check_protocol(info, self.address)
        return info


def _check_protocol(info: pb.ServerInfo, address: str) -> None:
    if info.oldest_protocol <= PROTOCOL and info.protocol >= OLDEST_PROTOCOL:
        return
    raise IncompatibleServerError(
        f"the server at {address} is arraymill {info.version} and speaks protocols {info.oldest_protocol} to "
        f"{info.protocol}; this is arraymill {version('arraymill')}, which speaks {OLDEST_PROTOCOL} to {PROTOCOL}: "
        "upgrade the older one",
        server_version=info.version,
        server_protocol=info.protocol,
        client_protocol=PROTOCOL,
    )
