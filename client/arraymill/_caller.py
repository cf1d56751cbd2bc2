"""How a client makes its calls: in their turn, within their deadlines, again after failures that pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

import numpy as np

from arraymill._bulk import BulkRoute
from arraymill._connection import Answer, Connection, Message
from arraymill._graph import Computation
from arraymill._info import ArrayInfo
from arraymill._inline import compute_inline
from arraymill._layout import AnyArray
from arraymill._limits import (
    INFORMATION_SECONDS,
    LONGEST_SECONDS,
    Remaining,
    Slots,
    checked_seconds,
    job_seconds,
    within,
)
from arraymill._mapped import may_be_same_file
from arraymill._memory_route import LEAST_BYTES, MemoryRoute
from arraymill._new_array import new_array
from arraymill._retry import Passes, Retry
from arraymill._shared_job import compute_shared, suits
from arraymill._transfer import Options, Transfer
from arraymill_proto.errors import (
    ArraymillError,
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    Reason,
    TooLargeError,
)
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import FRAME_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

T = TypeVar("T")

SMALL_BYTES: Final = 64 << 10
"""Up to here, inputs and results go in one message each. It saves a round trip and the set-up of a stream, some 0.5 ms;
beyond, protobuf's extra copies begin to cost as much."""

MAX_IN_FLIGHT: Final = 256
"""Jobs that one client has on the server at once; more wait their turn here. Beyond some 64 no throughput is won; the
server takes 2,048 calls from all clients. Small jobs are counted apart: they never wait behind streams. So are uploads
for submitted jobs, which may wait long for their turn on the server."""


class Place(Protocol):
    """Something that has its calls made on one connection until that server shuts down."""

    connection: Connection


class Upload(Protocol):
    """Something that sends in the background until it is ended."""

    async def end(self) -> None: ...


class Caller:
    """The calls of one client.

    A server that shuts down goes on with what it has, and refuses all else: new work goes to a new connection, where
    another server may answer, while calls about a job stay on the connection on which it was submitted. A connection
    that nobody uses any more is closed with the object.

    Args:
        connection: To its server; closed with this.
        timeout: Seconds that each call may take when it does not say; None: as long as its kind may.
        retry: How long to try again.
        frame_bytes: Largest frame to send.
        bulk: The way to the server's bulk lane.
        memory: The way to memory shared with the server.
        slots: Jobs of each kind that run at once; None: MAX_IN_FLIGHT.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout: float | None,
        retry: Retry,
        frame_bytes: int,
        bulk: BulkRoute,
        memory: MemoryRoute,
        slots: int | None = None,
    ) -> None:
        self.connection = connection
        """For new work."""
        self._connections = WeakSet([connection])
        self.retry = retry
        self.uploads: set[Upload] = set()
        """Ended with the client."""
        self.is_closing = False
        """Nothing is submitted any more."""
        self.upload_slots = Slots(MAX_IN_FLIGHT)
        self._timeout = checked_seconds("timeout", timeout)
        self._frame_bytes = frame_bytes
        self._bulk = bulk
        self._memory = memory
        self._messages = Slots(slots or MAX_IN_FLIGHT)
        self._streams = Slots(slots or MAX_IN_FLIGHT)

    def __repr__(self) -> str:
        slots = (self._messages, self._streams, self.upload_slots)
        running, waiting = sum(each.running for each in slots), sum(each.waiting for each in slots)
        state = "closed" if self.connection.is_closed else "open"
        return f"<Caller of {self.connection.address}: {state} | {running} running, {waiting} waiting>"

    async def close(self) -> None:
        """End the uploads and close all connections; what is under way fails with ConnectionFailedError.

        Cancelling it leaves uploads to the end of their connections.
        """
        self.is_closing = True
        try:
            while self.uploads:  # what was being submitted when this began joins them
                await asyncio.gather(*(upload.end() for upload in list(self.uploads)))
        finally:
            self._memory.close()
            await asyncio.gather(*(connection.close() for connection in list(self._connections)))

    def limit(self, timeout: float | None, seconds: float) -> float:
        """Return the seconds that a call may take: its own, else the client's, else those of its kind.

        Raises:
            ParameterError: Its own make no sense.
        """
        own = checked_seconds("timeout", timeout)
        own = self._timeout if own is None else own
        return seconds if own is None else own

    # ------------------------------------------------------------------ attempts

    def passes(self, error: ArraymillError) -> bool:
        """Tell whether a call that failed may succeed later."""
        return self.connection.is_passing(error)

    @contextmanager
    def on(self, place: Place) -> Generator[Connection]:
        """Use the connection of a place, for the last time when its server shuts down."""
        connection = place.connection
        try:
            yield connection
        except ConnectionFailedError as exc:
            if exc.reason is Reason.SHUTTING_DOWN and not connection.is_closed:
                if connection is self.connection:
                    self.connection = connection.renewed()
                    self._connections.add(self.connection)
                place.connection = self.connection
            raise

    async def tried(
        self,
        work: Callable[[Connection, int], Awaitable[T]],
        remaining: Remaining,
        *,
        place: Place | None = None,
        passes: Passes | None = None,
    ) -> T:
        """Do something on a connection that stands, and again while its failures may pass.

        Args:
            work: Gets the connection, and the number of attempts before.
            remaining: Of the whole.
            place: Whose connection; None: that for new work.
            passes: Which failures may pass; None: as `passes` says.
        """

        async def attempt(failures: int) -> T:
            with self.on(place or self) as connection:
                await connection.ready()
                return await work(connection, failures)

        return await self.retry.run(attempt, remaining, passes or self.passes)

    async def ready(self, remaining: Remaining, place: Place | None = None) -> pb.ServerInfo:
        """Connect, unless the connection stands, and return what the server said of itself."""
        return await self.tried(lambda connection, _: connection.ready(), remaining, place=place)

    # ------------------------------------------------------------------ questions

    async def ask(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        timeout: float | None = None,
        *,
        place: Place | None = None,
    ) -> Answer:
        """Make a unary call that may be made twice.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        async with within(self.limit(timeout, INFORMATION_SECONDS)) as remaining:
            return await self.asked(method, request, answer, remaining, place=place)

    async def asked(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        remaining: Remaining,
        *,
        place: Place | None = None,
        longest: float = LONGEST_SECONDS,
    ) -> Answer:
        """Make a unary call that may be made twice, within a time that somebody else measures.

        A server that lets one attempt wait for more than `longest` seconds is taken for lost.
        """

        async def attempt(connection: Connection, _: int) -> Answer:
            left = remaining()
            seconds = longest if left is None else min(left, longest)
            try:
                return await connection.call(method, request, answer, seconds)
            except DeadlineError as exc:
                if left is not None and left <= longest:
                    raise
                raise ConnectionFailedError(f"{connection.address} did not answer within {longest:g} s") from exc

        return await self.tried(attempt, remaining, place=place)

    async def ask_once(
        self,
        method: str,
        request: Message,
        answer: type[Answer],
        timeout: float | None,
        *,
        done: type[ArraymillError],
        place: Place | None = None,
    ) -> Answer | None:
        """Make a unary call of which the second is refused.

        Args:
            method: Its name.
            request: What to send.
            answer: What comes.
            timeout: Seconds.
            done: What the server says when the call has been made before.
            place: Whose connection to use.

        Returns:
            None when an earlier attempt, whose answer was lost, has done it.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """

        async def attempt(connection: Connection, failures: int) -> Answer | None:
            try:
                return await connection.call(method, request, answer, remaining())
            except done:
                if failures:
                    return None
                raise

        async with within(self.limit(timeout, INFORMATION_SECONDS)) as remaining:
            return await self.tried(attempt, remaining, place=place)

    # ------------------------------------------------------------------ jobs

    async def run(
        self, job: Computation, options: Options, place: Place | None = None
    ) -> tuple[Sequence[Any], ArrayInfo | None]:
        """Run a job in the way that suits its size; waiting for its turn counts as its time.

        A job is a function of its inputs and changes nothing, so it may be run again. Not so when its value is kept:
        then only when the server itself has said that it did nothing. An `out` that shares memory with an input is
        filled only after all has come; that two mappings are of one file NumPy does not see.

        Returns:
            The results, and what is known of the array when it is kept on the server instead.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        async with within(self.limit(options.timeout, job_seconds(job.input_bytes + job.result_bytes))) as remaining:

            async def attempt(connection: Connection, _: int) -> tuple[Sequence[Any], ArrayInfo | None]:
                info = connection.info
                assert info is not None, "the connection stands"
                if _is_small(job, options, info):
                    return await compute_inline(connection, job, options, remaining(), pipelined=info.pipelines), None
                options_now = self.options(job, replace(options, timeout=remaining()), info)
                if options.keep is None and max(job.input_bytes, job.result_bytes) >= LEAST_BYTES:
                    session = await self._memory.session(info)
                    options_now = replace(options_now, memory=session, timeout=remaining())
                    if session is not None and info.pipelines and suits(job, options_now):
                        values = await compute_shared(connection, job, options_now, session)
                        if values is not None:
                            return values, None
                        options_now = replace(options_now, timeout=remaining())
                return await Transfer(connection, job, options_now).run()

            info = (place or self).connection.info
            if info is None or not _is_small(job, options, info):  # a small job finds out when it is tried
                info = await self.ready(remaining, place)
            async with self._messages if _is_small(job, options, info) else self._streams:
                return await self.tried(attempt, remaining, place=place, passes=self._repeatable(job, options))

    async def empty(self, type: ArrayType, timeout: float | None) -> AnyArray:
        """Return an array in memory shared with the server, if there is any."""
        async with within(self.limit(timeout, INFORMATION_SECONDS)) as remaining:
            session = await self._memory.session(await self.ready(remaining))
            if session is not None and type.nbytes:
                with suppress(BusyError, TooLargeError, ConnectionFailedError):
                    segment = await session.allocate(type.nbytes)
                    session.keep(segment)
                    return np.ndarray(type.shape, type.dtype, segment.bytes[: type.nbytes])
        return new_array(type)

    async def share(self, info: pb.ServerInfo) -> bool:
        return await self._memory.session(info) is not None

    def shares(self, nbytes: int) -> bool:
        """Tell whether jobs of so many bytes go through memory shared with the server, as far as is known."""
        return self._memory.is_open and nbytes >= LEAST_BYTES

    def options(self, job: Computation, options: Options, info: pb.ServerInfo) -> Options:
        """Return options with what suits a job and the server."""
        nbytes = max(job.input_bytes, job.result_bytes)
        bulk = self._bulk if self._bulk.suits(nbytes, info.bulk_port) else None
        return replace(options, frame_bytes=min(self._frame_bytes, info.frame_bytes or FRAME_BYTES), bulk=bulk)

    def _repeatable(self, job: Computation, options: Options) -> Passes:
        """Return after which failures a job may be run again."""
        if options.keep is not None:
            return lambda error: (
                self.passes(error) and (isinstance(error, BusyError) or error.reason is Reason.SHUTTING_DOWN)
            )
        return lambda error: self.passes(error) and not may_be_same_file(job.inputs, options.outs)


def _is_small(job: Computation, options: Options, info: pb.ServerInfo) -> bool:
    limit = min(SMALL_BYTES, info.unary_bytes)
    return options.keep is None and max(job.input_bytes, job.result_bytes) <= limit
