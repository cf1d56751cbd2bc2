"""Small jobs of one client on one stream: those of a moment share a message, and each gets its own answer.

Theory of operation. A call of gRPC costs the same for any job; on a stream a message does, however many jobs it brings.
Two tasks serve a stream: one writes what has come since its last message, the other hands answers to those who wait.
A job that comes alone travels at once. Under load messages fill by themselves: the server tells when it has begun the
jobs of a message, and while MAX_MESSAGES are on their way to that, what comes waits for the next one. None takes more
than MAX_JOBS, so that both sides work all the time.

A stream that breaks fails the jobs on it, which are functions of their inputs: `Caller` sends them again. The next job
opens another stream. One that nobody has used for IDLE_SECONDS is ended, so that an idle client holds nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Final, TypeAlias, cast

import grpc.aio
from google.protobuf.message import DecodeError

from arraymill_proto.errors import ConnectionFailedError, InternalError
from arraymill_proto.v1 import arraymill_pb2 as pb

MAX_JOBS: Final = 16
"""Jobs in one message: most of what sharing one saves. With all 64 jobs of a client in one message, each side would be
idle while the other works."""

MAX_MESSAGES: Final = 3
"""Messages whose jobs the server has not begun: one that it works at, and those on their way. With 64 jobs in flight
that makes 10 to 16 in a message; without a bound they were two, and a job took half as much again."""

MESSAGE_BYTES: Final = 256 << 10
"""From here on a message is full; the last job in it has some 100 KiB at most, or 1 MiB of small inputs."""

END_SECONDS: Final = 5.0
"""How long a cancelled job that writes to memory of the caller is waited for: a worker is killed after 0.75 s, but a
machine with too much to do takes longer to say so."""

IDLE_SECONDS: Final = 10.0
"""After so long without jobs the stream is ended: an open call makes gRPC ask for signs of life."""

RawStream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class Pipeline:
    """The small jobs of one connection.

    Args:
        address: Of the server, for messages.
        open: Opens a stream.
    """

    def __init__(self, address: str, open: Callable[[], RawStream]) -> None:
        self._address = address
        self._open: Callable[[], RawStream] | None = open
        self._stream: _Stream | None = None

    def __repr__(self) -> str:
        return f"<Pipeline to {self._address}: {self._stream!r}>"

    async def compute(self, request: pb.ComputeRequest, timeout: float | None) -> pb.PipelinedAnswer:
        """Send a job and wait for its answer; cancelling this cancels the job.

        One that leaves results in shared memory may write there until the server says that it has ended: a cancellation
        waits for that, but not for ever.

        Args:
            request: The job.
            timeout: Seconds after which the server stops it; None: never.

        Raises:
            AioRpcError: The stream has failed.
            ConnectionFailedError: It has ended without an answer.
        """
        stream = self._stream
        if stream is None or not stream.is_open:
            if self._open is None:
                raise ConnectionFailedError(f"the client of {self._address} is closed")
            stream = self._stream = _Stream(self._open(), self._address)
        return await stream.answer(request, timeout)

    async def close(self) -> None:
        """End the stream at once, for good; whoever still waits is cancelled."""
        stream, self._stream = self._stream, None
        self._open = None  # errors hold this object: they must not keep the channel as well
        if stream is not None:
            await stream.close()


class _Stream:
    """One stream, and the two tasks that serve it."""

    def __init__(self, call: RawStream, address: str) -> None:
        self._call = call
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[pb.PipelinedAnswer]] = {}
        self._jobs: deque[pb.PipelinedJob] = deque()
        """To be sent."""
        self._cancelled: list[int] = []
        """To be told."""
        self._news = asyncio.Event()
        self._unbegun = 0
        """Messages whose jobs the server has not begun."""
        self._sent = 0
        self._used = self._loop.time()
        """When the last job came."""
        self._resting = self._loop.call_later(IDLE_SECONDS, self._rest)
        self.is_open = True
        """Whether jobs may still be sent."""
        self._tasks: tuple[asyncio.Task[None], ...]
        self._tasks = (asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write()))

    def __repr__(self) -> str:
        return f"<{'open' if self.is_open else 'ended'} stream, {len(self._waiting)} jobs wait>"

    async def answer(self, request: pb.ComputeRequest, timeout: float | None) -> pb.PipelinedAnswer:
        number = next(self._numbers)
        self._used = self._loop.time()
        future: asyncio.Future[pb.PipelinedAnswer] = self._loop.create_future()
        self._waiting[number] = future
        self._jobs.append(pb.PipelinedJob(number=number, request=request, timeout_seconds=timeout or 0.0))
        self._news.set()
        try:
            return await future
        except asyncio.CancelledError:
            if request.memory.outputs and number in self._waiting and self.is_open:
                self._cancelled.append(number)
                self._news.set()
                ending = self._waiting[number] = self._loop.create_future()
                await asyncio.wait([ending], timeout=END_SECONDS)
            raise
        finally:
            if self._waiting.pop(number, None) is not None:  # nobody waits any more
                self._cancelled.append(number)
                self._news.set()

    async def close(self) -> None:
        self.is_open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._tasks = ()  # their ends hold frames, which hold this object
        self._fail(asyncio.CancelledError())

    # ------------------------------------------------------------------ the two tasks

    async def _read(self) -> None:
        try:
            while (message := cast("Any", await self._call.read())) is not grpc.aio.EOF:
                self._hand_out(message)
            error: BaseException = ConnectionFailedError(f"{self._address} has ended a stream of small jobs")
        except DecodeError:
            error = InternalError(f"the answers of {self._address} cannot be read; is it an arraymill server?")
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError, asyncio.CancelledError) as exc:
            error = exc
        self._fail(error)
        del error  # it holds this frame: a circle would keep the channel for a while
        self._call.cancel()
        self._news.set()

    def _hand_out(self, message: bytes) -> None:
        response = pb.PipelineResponse.FromString(message)
        self._unbegun = self._sent - response.begun
        if self._jobs or self._cancelled:
            self._news.set()
        for answer in response.answers:
            future = self._waiting.pop(answer.number, None)
            if future is not None and not future.done():
                future.set_result(answer)

    def _fail(self, error: BaseException) -> None:
        self.is_open = False
        self._resting.cancel()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            elif not future.done():
                future.set_exception(error)

    async def _write(self) -> None:
        # What has become of the stream is told to whoever reads.
        with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, grpc.aio.InternalError, asyncio.InvalidStateError):
            while await self._has_news():
                await self._call.write(self._message())
            await self._call.done_writing()

    async def _has_news(self) -> bool:
        """Wait for something to send; False when the stream is to be ended."""
        while self.is_open and not ((self._jobs or self._cancelled) and self._unbegun < MAX_MESSAGES):
            self._news.clear()
            await self._news.wait()
        return self.is_open

    def _rest(self) -> None:
        """End the stream if it has been idle for long; else look again."""
        now = self._loop.time()
        if self._waiting:
            self._used = now
        left = self._used + IDLE_SECONDS - now
        if left > 0:
            self._resting = self._loop.call_later(left, self._rest)
        else:
            self.is_open = False
            self._news.set()

    def _message(self) -> bytes:
        self._sent += 1
        self._unbegun += 1
        message, nbytes = pb.PipelineRequest(cancelled=self._cancelled), 0
        self._cancelled.clear()
        while self._jobs and len(message.jobs) < MAX_JOBS and nbytes < MESSAGE_BYTES:
            job = self._jobs.popleft()
            if job.number in self._waiting:
                nbytes += job.ByteSize()
                message.jobs.append(job)
        return message.SerializeToString()
