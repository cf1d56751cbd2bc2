"""The same-host lane for tests: a client in the raw, which may misbehave, and what there is of segments."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
import socket
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ctypes import c_ubyte
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from arraymill_proto.memory import HELLO, MessageFeed, encode_message
from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.segments import Segments
from arraymill_server.rpc.shared import Budget

PAGE = mmap.PAGESIZE


def place_of(path: str) -> str:
    """The path as the kernel takes it."""
    return "\0" + path[1:] if path.startswith("@") else path


class RawSession:
    """A client's end of the memory socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.secret = b""
        self.staging: mmap.mmap
        self._feed = MessageFeed()
        self._messages: deque[bytes] = deque()
        self._fds: deque[int] = deque()

    async def say_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def say(self, **message: Any) -> None:
        await self.say_bytes(encode_message(pb.MemoryRequest(**message)))

    async def heard(self) -> pb.MemoryResponse:
        """What the server says next; EOFError when it has ended the connection."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SECONDS):
            while not self._messages:
                try:
                    data, fds, _, _ = socket.recv_fds(self.sock, 1 << 16, 4)
                except BlockingIOError:
                    readable: asyncio.Future[None] = loop.create_future()
                    loop.add_reader(self.sock, readable.set_result, None)
                    try:
                        await readable
                    finally:
                        loop.remove_reader(self.sock)
                    continue
                except ConnectionResetError as exc:
                    raise EOFError from exc
                self._fds.extend(fds)
                if not data:
                    raise EOFError
                self._messages.extend(self._feed.feed(data))
            return pb.MemoryResponse.FromString(self._messages.popleft())

    async def welcomed(self) -> pb.Welcome:
        """Say hello and be welcomed."""
        await self.say_bytes(HELLO)
        welcome = (await self.heard()).welcome
        self.secret, self.staging = welcome.session, self.mapped(welcome.nbytes)
        return welcome

    async def allocated(self, nbytes: int) -> tuple[int, mmap.mmap]:
        """Get a segment: its number and its bytes."""
        await self.say(allocate=pb.Allocate(request=1, nbytes=nbytes))
        told = (await self.heard()).segment
        return told.segment, self.mapped(told.nbytes)

    def mapped(self, nbytes: int) -> mmap.mmap:
        """The memory that came with a message."""
        fd = self._fds.popleft()
        try:
            return mmap.mmap(fd, nbytes)
        finally:
            os.close(fd)

    async def is_ended(self) -> bool:
        """Wait until the server ends the connection, whatever it says before."""
        try:
            while True:
                await self.heard()
        except EOFError:
            return True

    def close(self) -> None:
        self.sock.close()
        while self._fds:
            os.close(self._fds.popleft())


@asynccontextmanager
async def raw_connection(path: str) -> AsyncGenerator[RawSession]:
    """A connection to a memory socket that has not said anything."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    session = RawSession(sock)
    try:
        await asyncio.get_running_loop().sock_connect(sock, place_of(path))
        yield session
    finally:
        session.close()


@asynccontextmanager
async def raw_session(path: str) -> AsyncGenerator[RawSession]:
    """A connection that is welcomed."""
    async with raw_connection(path) as session:
        await session.welcomed()
        yield session


def budget_of(nbytes: int, most_segments: int | None = None) -> Budget:
    """A budget of an arena of its own, which is small."""
    return Budget(Segments(Arena((c_ubyte * PAGE)()).space), nbytes, most_segments)


def is_free(budget: Budget) -> bool:
    """Whether nothing is shared or promised any more."""
    counts = (repr(budget.shares), repr(budget.places))
    return not len(budget.segments) and all("of 0 clients: 0 of" in text for text in counts)


def segments_of(pid: int | str = "self") -> int:
    """Count the segments that a process has open or mapped, each as often as it does."""
    return _open_files(pid) + Path(f"/proc/{pid}/maps").read_text().count("/memfd:arraymill")


def _open_files(pid: int | str) -> int:
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(path.readlink()).startswith("/memfd:arraymill")
        except FileNotFoundError:  # closed meanwhile
            continue
    return count


def segments_left(before: int) -> int:
    """Count what this process has more of segments than it had; what only circles hold does not count."""
    if segments_of() > before:
        gc.collect()
    return max(0, segments_of() - before)


def as_peer(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Let the server think that it is of another user than its clients."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
