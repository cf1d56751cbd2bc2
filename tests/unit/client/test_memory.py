"""Memory shared with a server, from the client's side: what it asks for, keeps, and lets go."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import socket
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import numpy as np
import pytest
from patience import turns, until

from arraymill._memory import MemorySession
from arraymill._segment import Place
from arraymill_proto.errors import ArraymillError, BusyError, ConnectionFailedError, InternalError
from arraymill_proto.memory import HELLO, MAX_ALLOCATIONS, MessageFeed, encode_message
from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.arena.segments import create

PAGE = mmap.PAGESIZE


class Server:
    """A server that says what it is told."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._feed = MessageFeed()
        self._heard: list[bytes] = []

    async def heard(self) -> pb.MemoryRequest:
        while not self._heard:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
            assert data, "the client has gone"
            self._heard += self._feed.feed(data)
        return pb.MemoryRequest.FromString(self._heard.pop(0))

    def say(self, fd: int | None = None, **message: object) -> None:
        data = encode_message(pb.MemoryResponse(**message))  # type: ignore[arg-type]  # pyright: ignore
        if fd is None:
            self.sock.send(data)
        else:
            socket.send_fds(self.sock, [data], [fd])

    def give(self, request: int, number: int, nbytes: int = PAGE, *, fd: int | None = None) -> None:
        """Answer an allocation."""
        own = create(nbytes) if fd is None else fd
        self.say(own, segment=pb.Segment(request=request, segment=number, nbytes=nbytes))
        os.close(own)


@asynccontextmanager
async def connected(folder: Path, welcome: pb.Welcome | None = None) -> AsyncGenerator[tuple[Server, MemorySession]]:
    path = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.setblocking(False)
        listening.bind(path)
        listening.listen()
        opening = asyncio.ensure_future(MemorySession.open(path))
        loop = asyncio.get_running_loop()
        sock, _ = await loop.sock_accept(listening)
        with closing(sock):
            assert await loop.sock_recv(sock, len(HELLO)) == HELLO
            server = Server(sock)
            fd = create(PAGE)
            server.say(fd, welcome=welcome or pb.Welcome(session=b"s" * 32, segment=1, nbytes=PAGE))
            os.close(fd)
            session = await opening
            try:
                yield server, session
            finally:
                session.close()
                session.close()


async def test_a_segment_is_kept_until_its_last_array_is_gone(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        asking = asyncio.ensure_future(session.allocate(100))
        assert await server.heard() == pb.MemoryRequest(allocate=pb.Allocate(request=1, nbytes=100))
        server.give(1, 5)
        segment = await asking
        session.keep(segment)
        array = np.ndarray((4, 5), "f8", segment.bytes[8:168])
        del segment, asking
        await turns(2)  # the turn in which a future ended holds its result
        assert session.place(array) == Place(5, 8, (40, 8))
        assert session.place(array[1::2, ::3]) == Place(5, 48, (80, 24))
        assert session.place(array[::-1]) is None
        assert session.place(array[:0]) is None
        assert session.place(array.copy()) is None
        view = array[2]
        address = array.ctypes.data
        del array
        assert session.place(view) == Place(5, 88, (8,))
        del view
        assert session._kept  # pyright: ignore[reportPrivateUsage]  # the loop has not turned
        elsewhere = np.ndarray((1,), "u1", _Interface(address))
        is_found = session.place(elsewhere) is not None
        assert not is_found, "others may have the addresses now"
        assert await server.heard() == pb.MemoryRequest(release=pb.Release(segment=5))
        assert not session._kept  # pyright: ignore[reportPrivateUsage]


def _Interface(address: int) -> memoryview:  # noqa: N802  # stands for memory that is not read
    import ctypes

    return memoryview((ctypes.c_ubyte * 1).from_address(address))


async def test_refusals(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        asking = asyncio.ensure_future(session.allocate(100))
        await server.heard()
        server.say(refused=pb.Refused(request=99, reason="BUSY", message="another's"))
        server.say(refused=pb.Refused(request=1, reason="BUSY", message="no room"))
        with pytest.raises(BusyError, match="no room"):
            await asking


async def test_no_more_is_asked_for_than_a_server_allows(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        asking = [asyncio.ensure_future(session.allocate(100)) for _ in range(MAX_ALLOCATIONS + 3)]
        first = [(await server.heard()).allocate.request for _ in range(MAX_ALLOCATIONS)]
        await turns(5)
        for each in asking[:4]:
            each.cancel()
        await turns(5)
        with pytest.raises(BlockingIOError):
            server.sock.recv(1)
        for request in first[:4]:  # nobody waits for these any more
            server.give(request, 10 + request)
        said = [await server.heard() for _ in range(4 + 3)]
        assert sorted(each.release.segment for each in said if each.HasField("release")) == [11, 12, 13, 14]
        for request in [*first[4:], *(each.allocate.request for each in said if each.HasField("allocate"))]:
            server.give(request, 10 + request)
        assert len({(await each).number for each in asking[4:]}) == MAX_ALLOCATIONS - 1
        asking.clear()


async def test_who_waits_is_told_when_the_session_ends(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        asking = [asyncio.ensure_future(session.allocate(100)) for _ in range(MAX_ALLOCATIONS + 3)]
        await server.heard()
        server.sock.shutdown(socket.SHUT_RDWR)
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(error) for error in errors} == {ConnectionFailedError}
        assert not session.is_open
        with pytest.raises(ConnectionFailedError):
            await session.allocate(1)
        session.filled(1, 1)  # nobody is there
        session.release(7)
        assert repr(session) == "<MemorySession closed, 0 jobs>"


async def test_memory_that_could_shrink_is_not_mapped(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        asking = asyncio.ensure_future(session.allocate(PAGE))
        await server.heard()
        fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, PAGE)
        server.give(1, 5, fd=fd)
        with pytest.raises(ConnectionFailedError):
            await asking
        assert not session.is_open


async def test_a_session_that_is_forgotten_closes_its_socket_without_a_warning() -> None:
    """As when an event loop ends whose client nobody has closed."""
    own, peer = socket.socketpair()
    session = MemorySession(own)
    with warnings.catch_warnings(record=True) as told, closing(peer):
        warnings.simplefilter("always")
        del own, session
        gc.collect()
        assert peer.recv(1) == b""
    assert told == []


async def test_what_the_socket_does_not_take_is_sent_when_it_does(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        for want in range(10_000):
            session.filled(1, want)
        assert [(await server.heard()).filled.want for _ in range(10_000)] == list(range(10_000))


async def test_a_message_that_the_socket_takes_asks_nothing_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path) as (server, session):
        with monkeypatch.context() as patch:
            for name in ("add_writer", "remove_writer"):
                patch.setattr(asyncio.get_running_loop(), name, pytest.fail, raising=False)
            session.filled(1, 7)
        assert (await server.heard()).filled.want == 7


@pytest.mark.parametrize("lie", ["no memory", "larger than it is", "garbage"])
async def test_a_server_that_lies_is_left(tmp_path: Path, lie: str) -> None:
    async with connected(tmp_path) as (server, session):
        asking = asyncio.ensure_future(session.allocate(PAGE))
        await server.heard()
        job = Job()
        session.enter(3, job)
        if lie == "no memory":
            server.say(segment=pb.Segment(request=1, segment=5, nbytes=PAGE))
        elif lie == "garbage":
            server.sock.send(b"\0\0\0\2\xff\xff")
        else:
            fd = create(PAGE)
            server.say(fd, segment=pb.Segment(request=1, segment=5, nbytes=PAGE + 1))
            os.close(fd)
        with pytest.raises(ConnectionFailedError):
            await asking
        assert [type(error) for error in job.lost_by] == [InternalError]
        del asking
        job.lost_by.clear()


# ------------------------------------------------------------------ jobs


class Job:
    """A job that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.lost_by: list[ArraymillError | None] = []

    def fill(self, fill: pb.Fill) -> None:
        self.told.append(fill.want)

    def take(self, take: pb.Take) -> None:
        self.told.append(-take.range)

    def lost(self, error: ArraymillError | None) -> None:
        self.lost_by.append(error)


async def test_ranges_that_come_before_the_job_runs_are_all_kept(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        job, other = Job(), Job()
        session.enter(2, other)
        for want in range(1, 1001):
            server.say(fill=pb.Fill(job=1, want=want))
            await asyncio.sleep(0)
        server.say(take=pb.Take(job=1, range=1))
        server.say(take=pb.Take(job=2, range=5))
        await until(lambda: bool(other.told))
        session.enter(1, job)
        assert job.told == [*range(1, 1001), -1]
        session.leave(1)
        session.leave(1)


async def test_a_job_that_has_ended_is_left_and_forgotten(tmp_path: Path) -> None:
    async with connected(tmp_path) as (server, session):
        server.say(fill=pb.Fill(job=1, want=1))  # of a call that was cancelled meanwhile
        server.say(ended=pb.Ended(job=1))
        assert await server.heard() == pb.MemoryRequest(left=pb.Left(job=1))
        assert not session._early  # pyright: ignore[reportPrivateUsage]
        job = Job()
        session.enter(1, job)
        assert job.told == []


async def test_ranges_lie_within_the_memory(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, session):
        assert session.range(PAGE - 5, 5).size == 5
        for address, length in ((PAGE - 4, 5), (PAGE, 1), (0, PAGE + 1), ((1 << 64) - 1, 1)):
            with pytest.raises(InternalError, match="that it shares"):
                session.range(address, length)
