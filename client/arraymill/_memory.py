"""Memory shared with a server on the same machine: arrays lie in it, or travel through it, and no socket carries them.

Theory of operation. A session is a connection to the server's Unix socket. The server makes all memory and hands it out
as descriptors; their seals are checked, since a file that shrank would kill this process. What the session says is
where arrays lie: `Fill` asks for a range of an input in the *staging* memory, `Take` offers a range of a result there.
Arrays that lie in segments of their own (`empty`) need neither. The memory of a segment lives as long as an array that
lies there, whatever becomes of the session.

A session that cannot be had, or ends, costs nothing: jobs go by the other lanes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from contextlib import suppress
from itertools import count
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from arraymill._errors import error_of
from arraymill._memory_inbox import Inbox
from arraymill._segment import Place, Segment
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, InternalError, Reason, TooLargeError
from arraymill_proto.memory import CHOSEN_JOB, HELLO, MAX_ALLOCATIONS, encode_message
from arraymill_proto.v1 import memory_pb2 as pb

OPEN_SECONDS: Final = 2.0
"""From the call to the welcome. It takes some 20 ms, in which the server makes the staging memory."""

ENDED: Final = "the connection to the server's shared memory has ended"

UNSENT_BYTES: Final = 1 << 20
"""What may wait for a server to read it: releases of 100,000 arrays."""

MAX_EARLY: Final = 1 << 16
"""Messages that may come for a job before its server has said on the stream that it runs: as many as wants."""


class SharedRanges(Protocol):
    """A job, as its session sees it."""

    def fill(self, fill: pb.Fill) -> None:
        """Put a range of an input into the staging memory, and say so by `MemorySession.filled`."""
        ...

    def take(self, take: pb.Take) -> None:
        """Copy a range of a result from there, and say so by `MemorySession.taken`."""
        ...

    def lost(self, error: ArraymillError | None) -> None:
        """Nothing comes any more; with what the server said that it must not."""
        ...


class MemorySession:
    """A connection to a server's memory socket. Make it by `open` in a running event loop, and `close` it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        weakref.finalize(self, sock.close)  # who forgets a client is not told of its socket
        self._inbox = Inbox(sock)
        self._unsent = bytearray()
        self._is_writer_set = False
        self._jobs: dict[int, SharedRanges] = {}
        self._early: dict[int, list[pb.MemoryResponse]] = {}
        """What came for jobs that are not known; the server says when they have ended."""
        self._asked: dict[int, asyncio.Future[Segment]] = {}
        """Answers that have not come, also those that nobody waits for any more."""
        self._places = asyncio.Semaphore(MAX_ALLOCATIONS)
        self._requests = count(1)
        self._numbers = count(CHOSEN_JOB)
        self._kept: dict[int, tuple[int, int, weakref.ref[NDArray[np.uint8]]]] = {}
        """First and last address, here, of segments that arrays lie in; others have them when all bytes are gone."""
        self._loop = asyncio.get_running_loop()
        self.secret = b""
        self.staging: Segment
        self.is_open = True

    def __repr__(self) -> str:
        return f"<MemorySession {'open' if self.is_open else 'closed'}, {len(self._jobs)} jobs>"

    @classmethod
    async def open(cls, path: str) -> Self:
        """Connect, say hello and be welcomed.

        Raises:
            OSError: Nobody listens there, or this process may not come.
            EOFError: The server has no memory for this client.
            ArraymillError: The server says what it must not.
            TimeoutError: It does not answer.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        session = cls(sock)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(OPEN_SECONDS):
                await session._loop.sock_connect(sock, path)
                await session._loop.sock_sendall(sock, HELLO)
                welcome = (await session._inbox.next()).welcome
            session.secret = welcome.session
            session.staging = session._segment(welcome.segment, welcome.nbytes)
        except BaseException:
            session.close()
            raise
        session._loop.add_reader(sock, session._on_readable)
        session._work()
        return session

    def close(self) -> None:
        """End the connection; jobs go on by other lanes. Safe to call twice."""
        self._end(None)

    # ------------------------------------------------------------------ memory

    async def allocate(self, nbytes: int) -> Segment:
        """Ask for memory.

        Raises:
            BusyError, TooLargeError: There is none.
            ConnectionFailedError: The session has ended.
        """
        await self._places.acquire()
        if not self.is_open:
            self._places.release()
            raise ConnectionFailedError(ENDED)
        request = next(self._requests)
        asked: asyncio.Future[Segment] = self._loop.create_future()
        self._asked[request] = asked
        self._send(pb.MemoryRequest(allocate=pb.Allocate(request=request, nbytes=nbytes)))
        try:
            return await asked
        except asyncio.CancelledError:
            if not asked.cancelled() and asked.exception() is None:  # it came at the same moment
                self.release(asked.result().number)
            raise

    def keep(self, segment: Segment) -> None:
        """Find arrays that lie in a segment, until the last one is gone."""
        first = segment.bytes.ctypes.data
        self._kept[segment.number] = first, first + segment.bytes.size, weakref.ref(segment.bytes)
        ending = weakref.finalize(segment.bytes, _let_go, weakref.ref(self), self._loop, segment.number)
        ending.atexit = False

    def place(self, array: NDArray[Any]) -> Place | None:
        """Return where an array lies in the memory of this session; None when it does not."""
        if not self._kept or array.size == 0 or any(stride < 0 for stride in array.strides):
            return None
        first = array.ctypes.data
        last = first + array.itemsize + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
        for number, (low, high, whole) in self._kept.items():
            if low <= first and last <= high and whole() is not None:
                return Place(number, first - low, array.strides)
        return None

    def release(self, number: int) -> None:
        """Tell the server that a segment is used no more."""
        self._kept.pop(number, None)
        self._send(pb.MemoryRequest(release=pb.Release(segment=number)))

    # ------------------------------------------------------------------ jobs

    def next_number(self) -> int:
        """Return a number for a job that has none from the server."""
        return next(self._numbers)

    def enter(self, number: int, job: SharedRanges) -> None:
        """Take the ranges of a job, also those that came before."""
        self._jobs[number] = job
        for message in self._early.pop(number, ()):
            self._on_range(message)

    def leave(self, number: int) -> None:
        """Take no more ranges of a job. Safe to call twice."""
        self._jobs.pop(number, None)
        self._early.pop(number, None)

    def range(self, address: int, length: int) -> NDArray[np.uint8]:
        """Return a range of the staging memory.

        Raises:
            InternalError: It lies outside.
        """
        size = self.staging.bytes.size
        if address + length > size:
            raise InternalError(
                f"the server names bytes {address:,} to {address + length:,} of {size:,} that it shares"
            )
        return self.staging.bytes[address : address + length]

    def filled(self, job: int, want: int) -> None:
        """Say that a range of an input is there."""
        self._send(pb.MemoryRequest(filled=pb.Filled(job=job, want=want)))

    def taken(self, job: int, number: int) -> None:
        """Say that a range of a result has been copied."""
        self._send(pb.MemoryRequest(taken=pb.Taken(job=job, range=number)))

    # ------------------------------------------------------------------ inside

    def _on_readable(self) -> None:
        is_idle = not self._inbox  # else it works already
        try:
            self._inbox.receive()
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._end(None)
        except ArraymillError as exc:
            self._end(exc)
        if is_idle:
            self._work()

    def _work(self) -> None:
        """Do what one message says; copies take half a millisecond each, so others have their turn in between."""
        if not self._inbox:
            return
        try:
            self._on_message(self._inbox.pop())
        except ArraymillError as exc:
            self._end(exc)
        if self._inbox:
            self._loop.call_soon(self._work)

    def _on_message(self, message: pb.MemoryResponse) -> None:
        match message.WhichOneof("message"):
            case "fill" | "take":
                self._on_range(message)
            case "ended":
                self._early.pop(message.ended.job, None)
                self._send(pb.MemoryRequest(left=pb.Left(job=message.ended.job)))
            case "segment":
                self._on_segment(message.segment)
            case "refused":
                if (asked := self._answered(message.refused.request)) is not None:
                    reason = Reason.__members__.get(message.refused.reason, Reason.INTERNAL)
                    asked.set_exception(error_of(reason, message.refused.message, {}))
            case _:
                pass  # a message of a later version

    def _on_segment(self, told: pb.Segment) -> None:
        asked = self._answered(told.request)
        try:
            segment = self._segment(told.segment, told.nbytes)
        except OSError as exc:  # this process may have no more files or mappings
            self.release(told.segment)
            if asked is not None:
                asked.set_exception(TooLargeError(f"memory that the server shares cannot be mapped: {exc}"))
            return
        except ArraymillError:
            if asked is not None:
                asked.set_exception(ConnectionFailedError(ENDED))
            raise
        if asked is None:
            self.release(segment.number)  # nobody waits for it any more
        else:
            asked.set_result(segment)

    def _answered(self, request: int) -> asyncio.Future[Segment] | None:
        """Return what waits for an answer; None when nobody does, or does any more."""
        asked = self._asked.pop(request, None)
        if asked is not None:
            self._places.release()
        return None if asked is None or asked.done() else asked

    def _on_range(self, message: pb.MemoryResponse) -> None:
        number = message.fill.job if message.HasField("fill") else message.take.job
        job = self._jobs.get(number)
        if job is None:
            early = self._early.setdefault(number, [])
            if len(early) == MAX_EARLY:
                raise InternalError(f"the server says more than {MAX_EARLY:,} things of a job that does not run")
            early.append(message)
        elif message.HasField("fill"):
            job.fill(message.fill)
        else:
            job.take(message.take)

    def _segment(self, number: int, nbytes: int) -> Segment:
        fd = self._inbox.pop_fd()
        try:
            return Segment(number, fd, nbytes)
        finally:
            os.close(fd)

    def _send(self, message: pb.MemoryRequest) -> None:
        """Send a message, now or when the server has read those before; where it never reads, the session ends."""
        if not self.is_open:
            return
        is_waiting = bool(self._unsent)
        self._unsent += encode_message(message)
        if not is_waiting:
            self._flush()
        if len(self._unsent) > UNSENT_BYTES:
            self._end(None)

    def _flush(self) -> None:
        """Send what the socket takes; the rest when it takes more."""
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._end(None)
            return
        if self._is_writer_set != bool(self._unsent):
            self._is_writer_set = bool(self._unsent)
            if self._is_writer_set:
                self._loop.add_writer(self._sock, self._flush)
            else:
                self._loop.remove_writer(self._sock)

    def _end(self, error: ArraymillError | None) -> None:
        """End the connection, and tell whoever counts on it; with what the server said that it must not."""
        if not self.is_open:
            return
        self.is_open = False
        if not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
        self._sock.close()
        self._inbox.clear()
        self._unsent.clear()
        for request in list(self._asked):
            if (asked := self._answered(request)) is not None:
                asked.set_exception(ConnectionFailedError(ENDED))
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.lost(error)


def _let_go(session: weakref.ref[MemorySession], loop: asyncio.AbstractEventLoop, number: int) -> None:
    """Release a segment on the session's event loop: the last array may be gone on any thread."""
    known = session()
    if known is not None and not loop.is_closed():
        with suppress(RuntimeError):  # it is closed meanwhile
            loop.call_soon_threadsafe(known.release, number)
