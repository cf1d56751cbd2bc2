"""One gRPC channel to one server: opened at the first call, its protocol checked once, its failures typed."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Final, Protocol, Self, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from arraymill._address import is_same_host
from arraymill._errors import arraymill_errors, from_status
from arraymill._fork import check_process
from arraymill._pipeline import Pipeline
from arraymill._retry import STATUS_DETAIL, is_passing
from arraymill._shared import Shared
from arraymill_proto.errors import (
    ArraymillError,
    ConnectionFailedError,
    DeadlineError,
    IncompatibleServerError,
    InternalError,
    UnknownOperationError,
)
from arraymill_proto.identity import CLIENT_KEY
from arraymill_proto.limits import MESSAGE_BYTES, OLDEST_PROTOCOL, PROTOCOL
from arraymill_proto.v1 import arraymill_pb2 as pb

RawStream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
RawEvents: TypeAlias = "grpc.aio.UnaryStreamCall[bytes, bytes]"

_SERVICE: Final = "/arraymill.v1.Arraymill/"

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # A peer that vanished without a word is noticed within 40 s (measured: 25 while data travels, 37 else), before a
    # server gives up its client (45 s): so an upload can go on. gRPC's default is a minute at best, and never while
    # nothing but pings travels. Servers allow a ping each 10 s. A line on which an answer takes 25 s is taken for dead.
    ("grpc.keepalive_time_ms", 12_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 25_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that restarts is ready within 2 s; by default calls would fail at once for up to 120 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Clients do not share connections: closing one must not touch another.
    ("grpc.use_local_subchannel_pool", 1),
)

_DIRECT: Final = ("grpc.enable_http_proxy", 0)
"""For servers of this machine: a proxy from the environment cannot reach them."""


_READY: Final = grpc.ChannelConnectivity.READY

_LONGEST_ATTEMPT: Final = 3600.0
"""Seconds; keeps the milliseconds within gRPC's 32 bits."""


class Message(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802  # protobuf's name


class _Answer(Protocol):
    @classmethod
    def FromString(cls, s: bytes, /) -> Self: ...  # noqa: N802  # protobuf's name


Answer = TypeVar("Answer", bound=_Answer)


class Connection:
    """A channel of its own: clients do not share connections.

    The first call asks the server for its information: that proves that a server is there, and checks its protocol.
    All concurrent callers share that one question. It is asked again after the connection was lost: another version
    of the server may have taken its place.
    """

    def __init__(
        self, address: str, *, connect_timeout: float, client: str = "", server_version: str | None = None
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            address: In the form of `_address.resolve`.
            connect_timeout: Seconds in which the server must have answered the first question.
            client: A name under which the server counts all connections of a client; empty: each counts apart.
            server_version: Of the server that another connection to this address has reached.
        """
        self.address = address
        self.is_closed = False
        self.server_version = server_version
        """Of the server that answered last; None before the first has."""
        self.server_began: tuple[float, float] | None = None
        """When it was started, at the earliest and at the latest, on this process' monotonic clock."""
        self._connect_timeout = connect_timeout
        self._client = client
        self._metadata = ((CLIENT_KEY, client),) if client else ()
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.info: pb.ServerInfo | None = None
        """What the server said of itself when it was last asked; None before the first answer."""
        self._check: Shared[pb.ServerInfo] | None = None
        self._pipeline: Pipeline | None = None

    def renewed(self) -> Connection:
        """Return another connection to the same address: another server may answer there."""
        return Connection(
            self.address,
            connect_timeout=self._connect_timeout,
            client=self._client,
            server_version=self.server_version,
        )

    async def ready(self) -> pb.ServerInfo:
        """Connect and check the protocol, unless that was done and the connection stands.

        Cancelling one waiter leaves the question to the others.

        Returns:
            What the server said of itself when it was asked.

        Raises:
            ConnectionFailedError: No server answers in time.
            IncompatibleServerError: Client and server speak different protocols.
        """
        with self.errors():
            channel = self._open()
            check = self._check
            if check is None or check.has_failed or (check.is_done and channel.get_state() is not _READY):
                self._check = check = Shared(self._ask())
            return await check.wait()

    def doubt(self) -> None:
        """Ask the server for its information again before the next call.

        Between the question and a call the connection may have been lost and made again, and nobody has noticed: then
        what is known is that of another server than the one that answered the call.
        """
        if self._check is not None and self._check.is_done:
            self._check = None

    async def call(self, method: str, request: Message, answer: type[Answer], timeout: float | None) -> Answer:
        """Make a unary call; cancelling it cancels the call.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        with self.errors(method):
            stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._open().unary_unary(_SERVICE + method)
            message = await stub(request.SerializeToString(), timeout=timeout, metadata=self._metadata)
        return self.parsed(method, message, answer)

    async def compute(self, request: pb.ComputeRequest, timeout: float | None) -> pb.ComputeResponse:
        """Compute a job of one message on the stream that all of them share; cancelling it cancels the job.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        with self.errors("Pipeline"):
            answer = await self._opened_pipeline().compute(request, timeout)
            if answer.HasField("response"):
                return answer.response
            raise from_status(answer.status, self.address)

    def _opened_pipeline(self) -> Pipeline:
        """Return the pipeline; whoever calls this keeps no channel in a frame that an error may hold for long."""
        channel = self._open()
        if self._pipeline is None:
            stub: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(_SERVICE + "Pipeline")
            self._pipeline = Pipeline(self.address, partial(stub, metadata=self._metadata))
        return self._pipeline

    def events(self, method: str, request: Message, timeout: float | None) -> RawEvents:
        """Open a stream of the server's; read and parse it under `errors`."""
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._open().unary_stream(_SERVICE + method)
        return stub(request.SerializeToString(), timeout=timeout, metadata=self._metadata)

    def stream(self, method: str, timeout: float | None) -> RawStream:
        """Open a bidirectional stream of raw messages; use it under `errors`."""
        stub: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._open().stream_stream(_SERVICE + method)
        return stub(timeout=timeout, metadata=self._metadata)

    def parsed(self, method: str, message: bytes, answer: type[Answer]) -> Answer:
        """Read an answer.

        Raises:
            InternalError: It is none.
        """
        try:
            return answer.FromString(message)
        except DecodeError as exc:
            raise self.garbled(method) from exc

    def is_passing(self, error: ArraymillError) -> bool:
        """Tell whether a call that failed may succeed later. A server that never answered is not waited for."""
        is_unknown = isinstance(error, ConnectionFailedError) and self.server_version is None
        return is_passing(error) and not self.is_closed and not is_unknown

    @contextmanager
    def errors(self, method: str = "Run") -> Generator[None]:
        """Turn what gRPC raises into exceptions of arraymill.

        gRPC ends the calls of a channel that is closed by cancelling them; only a cancellation that somebody asked
        the current task for passes through as one. What the server does not know is told with both versions.
        """
        try:
            with arraymill_errors(self.address):
                yield
        except (UnknownOperationError, IncompatibleServerError) as exc:
            raise self._with_versions(exc, method) from exc
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if self.is_closed and task is not None and not task.cancelling():
                raise self._closed() from exc
            raise
        except ConnectionFailedError:
            self.doubt()
            raise

    def garbled(self, method: str) -> InternalError:
        """Return the error of an answer that is no message."""
        return InternalError(f"the answer of {self.address} to {method} cannot be read; is it an arraymill server?")

    async def close(self) -> None:
        """Close the channel; calls that are under way fail with ConnectionFailedError. Safe to call twice."""
        self.is_closed = True
        if self._loop is not asyncio.get_running_loop():
            return  # never used, or of a loop that has ended and taken everything with it
        # gRPC ends its TCP connection when nobody has the channel any more, not when it is closed. A question that has
        # failed holds the frames of those who asked, which hold this object.
        check, self._check = self._check, None
        pipeline, self._pipeline = self._pipeline, None
        channel, self._channel = self._channel, None
        if pipeline is not None:
            await pipeline.close()
        if check is not None:
            await check.cancel()
        if channel is not None:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self.is_closed:
            raise self._closed()
        check_process()
        loop = asyncio.get_running_loop()
        if self._channel is None:
            # Despite its name this is how long one attempt to connect may take; `_ask` gives up before.
            seconds = min(self._connect_timeout, _LONGEST_ATTEMPT) + 1
            attempt = ("grpc.min_reconnect_backoff_ms", int(1000 * seconds))
            options = (*_OPTIONS, attempt, _DIRECT) if is_same_host(self.address) else (*_OPTIONS, attempt)
            self._channel, self._loop = grpc.aio.insecure_channel(self.address, options=options), loop
        elif self._loop is not loop:
            raise ArraymillError(f"the client of {self.address} belongs to another event loop: make one for each loop")
        return self._channel

    def _closed(self) -> ConnectionFailedError:
        return ConnectionFailedError(f"the client of {self.address} is closed")

    async def _ask(self) -> pb.ServerInfo:
        begin = monotonic()
        try:
            info = await self.call("GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo, self._connect_timeout)
        except DeadlineError as exc:
            raise ConnectionFailedError(f"{self.address} did not answer within {self._connect_timeout:g} s") from exc
        _check_protocol(info, self.address)
        self.info, self.server_version = info, info.version
        self.server_began = begin - info.uptime_seconds, monotonic() - info.uptime_seconds
        return info

    def _with_versions(
        self, error: UnknownOperationError | IncompatibleServerError, method: str
    ) -> UnknownOperationError | IncompatibleServerError:
        """Return an error that names the versions of both sides, as far as the server has told its own."""
        if self.server_version is None or "server_version" in error.details:
            return error
        server, client = f"the server at {self.address} is arraymill {self.server_version}", _version()
        if isinstance(error, UnknownOperationError):
            text = f"{error.message} ({server}, this is arraymill {client})"
        elif STATUS_DETAIL in error.details:
            text = f"{server}, which has no {method}; this is arraymill {client}: upgrade the server"
        else:
            text = f"{error.message}; {server}, this is arraymill {client}"
        details = {**error.details, "server_version": self.server_version, "client_version": client}
        return type(error)(text, reason=error.reason, **details)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  # costs a third of `import numpy`

    return version("arraymill")


def _check_protocol(info: pb.ServerInfo, address: str) -> None:
    if info.oldest_protocol <= PROTOCOL and info.protocol >= OLDEST_PROTOCOL:
        return
    raise IncompatibleServerError(
        f"the server at {address} is arraymill {info.version} and speaks protocols {info.oldest_protocol} to "
        f"{info.protocol}; this is arraymill {_version()}, which speaks {OLDEST_PROTOCOL} to {PROTOCOL}: "
        "upgrade the older one",
        server_version=info.version,
        server_protocol=info.protocol,
        client_protocol=PROTOCOL,
    )
