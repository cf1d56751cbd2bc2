"""One client on the same machine: its connection to the memory socket, its memory, and the ranges of its jobs.

Arrays do not travel here: messages say what lies where. A connection that ends takes no job with it that has a stream:
what was asked for is asked for again there, and results that were not taken go there as well. One that has none, and
still wants something, is sent again by its client. The memory stays until the
jobs that use it have ended.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from arraymill_proto.errors import ArraymillError, FrameError, InternalError, InvalidJobError
from arraymill_proto.memory import CHOSEN_JOB, MAX_ALLOCATIONS, SESSION_BYTES, MessageFeed, encode_message
from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.engine.outbox import Outbox
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.log import get_logger
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc.shared import SharedMemory, Staging

READ_BYTES: Final = 64 << 10

MAX_UNREAD: Final = 4096
"""Messages that a client may let lie: several times what it can be told without asking for more."""

_log = get_logger(__name__)


class SharedJob(Protocol):
    """A job, as its client's session sees it. No method blocks."""

    def filled(self, want: int) -> None:
        """A range of an input is there."""
        ...

    def taken(self, number: int) -> None:
        """A range of a result has been copied."""
        ...

    def session_failed(self, error: Exception) -> None:
        """The client says what it must not."""
        ...

    def session_lost(self) -> None:
        """The session has ended, for whatever reason."""
        ...


class Session:
    """A client's connection, from its hello on.

    Args:
        sock: Connected, non-blocking; the caller closes it when `serve` has returned.
        memory: What the client shares with the server; the session closes it.
        staging: Its segment that `memory` holds, through which arrays travel.
    """

    def __init__(self, sock: socket.socket, memory: SharedMemory, staging: Staging) -> None:
        self.secret: Final = secrets.token_bytes(SESSION_BYTES)
        """Proves that a job is this client's."""
        self.memory: Final = memory
        self.staging: Final = staging
        self._sock = sock
        self._outbox = Outbox(sock)
        self._jobs: dict[int, SharedJob] = {}
        self._last_job = 0
        self._ending: dict[int, Callable[[], None]] = {}
        """What is due when the client has left jobs that have ended, by their numbers."""
        self._making: set[asyncio.Task[None]] = set()
        self.is_open = True

    def __repr__(self) -> str:
        return f"<Session of {self.memory!r}, {len(self._jobs)} jobs>"

    async def serve(self) -> None:
        """Answer the client until it goes; cancelling ends the session."""
        self._send(
            pb.MemoryResponse(
                welcome=pb.Welcome(
                    session=self.secret, segment=self.staging.segment.number, nbytes=self.staging.segment.size
                )
            ),
            self.staging.segment.fd,
        )
        try:
            await self._receive()
        except (OSError, EOFError):
            pass
        except ArraymillError as exc:
            _log.warning("a client on this machine says what it must not", error=exc.message)
            for job in list(self._jobs.values()):
                job.session_failed(exc)
        finally:
            self._close()

    # ------------------------------------------------------------------ jobs

    def enter(self, job: SharedJob, number: int = 0) -> int:
        """Let the ranges of a job travel here; return the number under which they do.

        Args:
            job: The job.
            number: That its client has chosen; 0: none.

        Raises:
            InvalidJobError: It must not be chosen, or another job has it.
        """
        if not number:
            self._last_job += 1
            number = self._last_job
        elif number < CHOSEN_JOB or number in self._jobs or number in self._ending:
            raise InvalidJobError(
                f"job number {number} in shared memory: a number from 2^63 on that no other job of the session has",
                job_number=number,
            )
        self._jobs[number] = job
        return number

    def leave(self, number: int) -> None:
        """Forget a job. Safe to call twice."""
        self._jobs.pop(number, None)

    def end_job(self, number: int, then: Callable[[], None]) -> None:
        """Forget a job of which the client still has ranges to copy; `then` is called once, when it copies none."""
        self.leave(number)
        self._ending[number] = then
        self._send(pb.MemoryResponse(ended=pb.Ended(job=number)))

    def fill(self, job: int, want: int, wanted: Wanted, address: int) -> None:
        """Ask for a range of an input, which belongs at an address of the staging memory."""
        fill = pb.Fill(
            job=job, want=want, index=wanted.number, offset=wanted.offset, length=wanted.nbytes, order=wanted.order
        )
        fill.address = address - self.staging.segment.address
        self._send(pb.MemoryResponse(fill=fill))

    def take(self, job: int, number: int, outgoing: Outgoing) -> None:
        """Offer a range of a result."""
        take = pb.Take(
            job=job, range=number, outputs=outgoing.outputs, offset=outgoing.offset, length=len(outgoing.data)
        )
        take.address = outgoing.address - self.staging.segment.address
        self._send(pb.MemoryResponse(take=take))

    # ------------------------------------------------------------------ inside

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        feed = MessageFeed()
        while data := await loop.sock_recv(self._sock, READ_BYTES):
            for message in feed.feed(data):
                self._on_message(_parsed(message))
            if len(self._outbox) > MAX_UNREAD:
                raise FrameError(f"more than {MAX_UNREAD:,} messages wait for a client that does not read them")
            await asyncio.sleep(0)  # where bytes are always waiting nothing else would ever run

    def _on_message(self, request: pb.MemoryRequest) -> None:
        match request.WhichOneof("message"):
            case "filled":
                if (job := self._jobs.get(request.filled.job)) is not None:
                    job.filled(request.filled.want)
            case "taken":
                if (job := self._jobs.get(request.taken.job)) is not None:
                    job.taken(request.taken.range)
            case "left":
                self._ending.pop(request.left.job, _nothing)()
            case "allocate":
                self._allocate(request.allocate)
            case "release":
                if request.release.segment != self.staging.segment.number:
                    self.memory.release(request.release.segment)
            case _:
                pass  # a message of a later version

    def _allocate(self, allocate: pb.Allocate) -> None:
        if len(self._making) >= MAX_ALLOCATIONS:
            raise FrameError(f"more than {MAX_ALLOCATIONS} allocations at a time")
        task = asyncio.ensure_future(self._make(allocate))
        self._making.add(task)
        task.add_done_callback(self._making.discard)

    async def _make(self, allocate: pb.Allocate) -> None:
        try:
            held = await self.memory.make(allocate.nbytes)
        except ArraymillError as exc:
            refused = pb.Refused(request=allocate.request, reason=exc.reason, message=exc.message)
            self._send(pb.MemoryResponse(refused=refused))
            return
        segment = held.segment
        told = pb.Segment(request=allocate.request, segment=segment.number, nbytes=segment.size)
        self._send(pb.MemoryResponse(segment=told), segment.fd)

    def _send(self, message: pb.MemoryResponse, fd: int | None = None) -> None:
        if self.is_open:
            self._outbox.send(encode_message(message), fd)

    def _close(self) -> None:
        self.is_open = False
        self._outbox.close()
        for task in self._making:
            task.cancel()
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.session_lost()
        while self._ending:
            self._ending.popitem()[1]()
        self.memory.close()


def _nothing() -> None:
    """Nobody waits for the client to leave that job."""


def _parsed(message: bytes) -> pb.MemoryRequest:
    try:
        return pb.MemoryRequest.FromString(message)
    except DecodeError as exc:
        raise InternalError("what a client said on the memory socket cannot be read") from exc
