"""Small jobs on one stream: many share a message each way, and none waits for another.

Theory of operation. A call of gRPC costs some 200 µs on each side, whatever it brings; a small job costs 50. On a
pipeline a client sends what has come together since its last message, and the server answers what has been done since
its own: under load some ten jobs share a message, and one alone travels as fast as a call does, or faster.

- Jobs that can be played are answered in the turn of the loop in which they are read, at most TURN_SECONDS of them at a
  time: between two turns everybody else has one. So clients share the loop in turn, each for the same time.
- All others run in tasks of their own, each like a call of Compute: places, turns, memory, deadlines and errors.
- A client that does not read is not read: beyond UNREAD_BYTES of answers, or MAX_RUNNING jobs, nothing more is taken
  in, and in the end its time for silence is over (`stall`).
- A stream that ends, however, cancels its jobs. What was computed by then is still sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final

import grpc.aio
from google.protobuf.message import DecodeError

from arraymill_proto.errors import DeadlineError, InvalidJobError, JobCancelledError
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.metrics.counts import UNKNOWN
from arraymill_server.rpc.calls import client_of, shutting_down
from arraymill_server.rpc.small import Hall, SmallJob, check_size
from arraymill_server.rpc.stall import patience
from arraymill_server.rpc.status import GONE, declared, rpc_status
from arraymill_server.rpc.streams import Context, stop

TURN_SECONDS: Final = 0.0005
"""What a client's jobs may take of the event loop at a time: some ten of them."""

ANSWER_BYTES: Final = 1 << 20
"""From here on a message of answers is full; the last one in it may have as much again."""

UNREAD_BYTES: Final = 8 << 20
"""Answers that may wait for their client, beyond those of jobs that run: some messages."""

MAX_RUNNING: Final = 256
"""Jobs of a stream that may go the long way at once, as many as a client of this library has on a server. Each may have
1 MiB of results. Those in shared memory are not counted: there are places for them, as for all jobs."""

LONGEST_SECONDS: Final = 1e9
"""Longest time limit of a job, some 30 years: the loop's clock would overflow."""

LAST_SECONDS: Final = 0.5
"""What a client may take for the answers that are there when its stream ends."""


class Pipeline:
    """One stream. Make it in a running event loop.

    Args:
        context: The call.
        hall: Where jobs go through.
        stall_seconds: What the client may take to read a message.
    """

    def __init__(self, context: Context, hall: Hall, stall_seconds: float) -> None:
        self._context = context
        self._hall = hall
        self._stall_seconds = stall_seconds
        self._peer, self._client = context.peer(), client_of(context)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """Jobs that go the long way, by number."""
        self._in_memory: set[int] = set()
        """Those whose arrays lie in shared memory: they may take long, and bring no bytes."""
        self._answers: deque[tuple[pb.PipelinedAnswer, int]] = deque()
        """With their bytes."""
        self._unread = 0
        """Bytes of all of them."""
        self._news = asyncio.Event()
        """Set when there is something to write, or nothing will come any more."""
        self._room = asyncio.Event()
        """Set when less waits or runs than before."""
        self._begun = self._begun_told = 0
        """Messages whose jobs have begun."""
        self._has_ended = False
        self._is_writing = False

    def __repr__(self) -> str:
        return f"<Pipeline of {self._client}: {len(self._tasks)} jobs run, {len(self._answers)} answers wait>"

    async def serve(self) -> None:
        """Answer jobs until the client has ended its side and has all answers.

        Raises:
            ArraymillError: The client does not read, or sends what is no message.
        """
        reader, writer = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_EXCEPTION)
            for half in (reader, writer):
                if half.done():
                    half.result()
        finally:
            await stop(reader, writer, *self._tasks.values())
            await self._send_last()

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            await self._take(message)
            while self._unread > UNREAD_BYTES or len(self._tasks) - len(self._in_memory) >= MAX_RUNNING:
                self._room.clear()
                await self._room.wait()
        while self._tasks:
            await asyncio.wait(self._tasks.values())
        self._has_ended = True
        self._news.set()

    async def _take(self, message: bytes) -> None:
        """Begin the jobs of a message, some of them in each turn of the loop."""
        request = _parse(message)
        for number in request.cancelled:
            if number in self._tasks:
                self._tasks[number].cancel()
        end = monotonic() + TURN_SECONDS
        for job in request.jobs:
            self._begin(job)
            if monotonic() > end:
                self._news.set()
                await asyncio.sleep(0)
                end = monotonic() + TURN_SECONDS
        self._begun += 1
        self._news.set()

    def _begin(self, job: pb.PipelinedJob) -> None:
        number, nbytes = job.number, job.ByteSize()
        if number in self._tasks:
            raise InvalidJobError(f"there is a job {number} on this pipeline already, and it has not been answered")
        try:
            check_size(nbytes)
        except InvalidJobError as error:
            self._hall.calls.counts.turned_away(UNKNOWN, error.reason)
            self._refuse(number, error)
            return
        try:
            small = SmallJob(job.request, nbytes, self._hall, peer=self._peer, client=self._client)
            answer = small.play()
        except Exception as error:
            self._refuse(number, error)
            return
        if answer is not None:
            self._answer(pb.PipelinedAnswer(number=number, response=answer))
            return
        task = self._tasks[number] = asyncio.ensure_future(self._run(number, small, job.timeout_seconds))
        task.add_done_callback(lambda _: self._ended(number))
        if small.is_in_memory:
            self._in_memory.add(number)

    def _ended(self, number: int) -> None:
        del self._tasks[number]
        self._in_memory.discard(number)
        self._room.set()

    async def _run(self, number: int, job: SmallJob, seconds: float) -> None:
        """Run a job the long way, and answer it."""
        try:
            async with _limited(seconds):
                answer = await job.run()
            self._answer(pb.PipelinedAnswer(number=number, response=answer))
        except Exception as error:
            self._refuse(number, error)
        except asyncio.CancelledError:  # a client that has wished it does not wait for this, one that has not must hear
            is_end = self._hall.calls.is_ended
            self._refuse(
                number, shutting_down() if is_end else JobCancelledError("the job was cancelled by the server")
            )
            raise
        finally:
            self._news.set()

    def _refuse(self, number: int, error: Exception) -> None:
        told = declared(error, method="pipeline")
        error.__traceback__ = None
        self._answer(pb.PipelinedAnswer(number=number, status=rpc_status(told).SerializeToString()))

    def _answer(self, answer: pb.PipelinedAnswer) -> None:
        nbytes = answer.ByteSize()
        self._answers.append((answer, nbytes))
        self._unread += nbytes

    async def _write(self) -> None:
        while self._answers or not self._has_ended:
            if not self._answers and self._begun == self._begun_told:
                self._news.clear()
                await self._news.wait()
                continue
            async with patience(self._stall_seconds, "does not read the answers of its jobs"):
                await self._write_one()

    async def _write_one(self) -> None:
        self._is_writing = True
        await self._context.write(self._message())
        self._is_writing = False

    def _message(self) -> bytes:
        """Return as many answers as a message takes."""
        message, nbytes = pb.PipelineResponse(begun=self._begun), 0
        self._begun_told = self._begun
        while self._answers and nbytes < ANSWER_BYTES:
            answer, size = self._answers.popleft()
            nbytes += size
            message.answers.append(answer)
        self._unread -= nbytes
        self._room.set()
        return message.SerializeToString()

    async def _send_last(self) -> None:
        """Send what is there when the stream ends early; whoever does not get it sends the job again."""
        with suppress(TimeoutError, asyncio.CancelledError, *GONE):
            async with asyncio.timeout(LAST_SECONDS):
                while self._answers and not self._is_writing:  # one that was cut off is on its way for ever
                    await self._write_one()


def _parse(message: bytes) -> pb.PipelineRequest:
    try:
        return pb.PipelineRequest.FromString(message)
    except DecodeError as exc:
        raise InvalidJobError(f"the message of {len(message):,} bytes is no PipelineRequest") from exc


@asynccontextmanager
async def _limited(seconds: float) -> AsyncGenerator[None]:
    """Stop a job after some seconds; 0 is no limit, and so is what makes no sense as one."""
    limit = seconds if 0 < seconds < LONGEST_SECONDS else None
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError as exc:
        if isinstance(exc, DeadlineError):
            raise
        raise DeadlineError(f"the deadline of {seconds:g} s passed before the job was done") from exc
