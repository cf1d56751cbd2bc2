"""The same-host lane for tests: a client in the raw, which may misbehave, and what there is of segments."""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from ctypes import c_ubyte
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import SECONDS

import arraymill as am
from arraymill import _caller, _shared_job
from arraymill._shared_lane import SharedLane
from arraymill._transfer import Transfer
from arraymill_proto.memory import HELLO, MessageFeed, encode_message
from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.segments import Segments
from arraymill_server.rpc.memory_session import Session
from arraymill_server.rpc.shared import Budget, SharedMemory, Staging

PAGE = mmap.PAGESIZE

FILE = "/memfd:arraymill"
"""How the kernel calls a segment."""


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
        self._mapped: list[mmap.mmap] = []

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
        return self.welcome(await self.heard())

    def welcome(self, message: pb.MemoryResponse) -> pb.Welcome:
        """Note what the server says first."""
        self.secret = message.welcome.session
        self.staging = self.mapped(message.welcome.nbytes)
        return message.welcome

    async def allocated(self, nbytes: int) -> tuple[int, mmap.mmap]:
        """Get a segment: its number and its bytes."""
        await self.say(allocate=pb.Allocate(request=1, nbytes=nbytes))
        told = (await self.heard()).segment
        return told.segment, self.mapped(told.nbytes)

    def mapped(self, nbytes: int) -> mmap.mmap:
        """The memory that came with a message."""
        fd = self._fds.popleft()
        try:
            self._mapped.append(mmap.mmap(fd, nbytes))
            return self._mapped[-1]
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
        while self._mapped:
            self._mapped.pop().close()


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


@asynccontextmanager
async def served(budget: Budget, staging_bytes: int) -> AsyncGenerator[tuple[Session, RawSession]]:
    """A session, and its client, which is welcomed. The session has ended afterwards."""
    ours, theirs = socket.socketpair()
    client = RawSession(theirs)
    memory = SharedMemory(budget, "me")
    with ours, closing(client):
        ours.setblocking(False)
        theirs.setblocking(False)
        session = Session(ours, memory, Staging(await memory.make(staging_bytes)))
        serving = asyncio.ensure_future(session.serve())
        serving.add_done_callback(lambda _: ours.close())
        client.welcome(await client.heard())
        try:
            yield session, client
        finally:
            theirs.close()
            await serving


def is_free(budget: Budget) -> bool:
    """Whether nothing is shared or promised any more."""
    counts = (repr(budget.shares), repr(budget.places))
    return not len(budget.segments) and all("of 0 clients: 0 of" in text for text in counts)


def segments_of(pid: int | str = "self") -> set[int]:
    """The segments that a process has open or mapped, by their inodes: `mmap` keeps a descriptor as well."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if str(path.readlink()).startswith(FILE):
                found.add(path.stat().st_ino)
    return found


def as_peer(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Let the server think that it is of another user than its clients."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)


class MemoryTraffic:
    """What clients of this process copy to and from shared memory, and what lies there anyway."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.filled = self.taken = 0
        """Bytes."""
        self.placed = self.placed_results = 0
        """Arrays."""
        fill, take, opening = SharedLane.fill, SharedLane.take, SharedLane.opening

        def counting_fill(lane: SharedLane, message: pb.Fill) -> None:
            self.filled += message.length
            fill(lane, message)

        def counting_take(lane: SharedLane, message: pb.Take) -> None:
            self.taken += message.length
            take(lane, message)

        def counting_opening(lane: SharedLane, inputs: Any, outs: Any) -> Any:
            told = opening(lane, inputs, outs)
            if told is not None:
                self.placed += len(told.inputs)
                self.placed_results += len(told.outputs)
            return told

        monkeypatch.setattr(SharedLane, "fill", counting_fill)
        monkeypatch.setattr(SharedLane, "take", counting_take)
        monkeypatch.setattr(SharedLane, "opening", counting_opening)


async def lying_there(mill: am.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all inputs of jobs lie in memory that the client shares, as they lie now, if steps are not negative.

    Results for which the caller gives no array are left there as well.
    """
    pool = Pool(await mill.empty(POOL_BYTES, "u1"))
    run = Transfer.run

    async def run_there(self: Transfer) -> Any:
        job, options = self._job, self._options  # pyright: ignore[reportPrivateUsage]
        self._job = replace(job, inputs=tuple(map(pool.moved, job.inputs)))  # pyright: ignore[reportPrivateUsage]
        if not options.keep and not options.outs and not options.attach:
            outs = [pool.array(result.shape, result.dtype) for result in job.results]
            self._options = replace(options, outs=outs)  # pyright: ignore[reportPrivateUsage]
            results, kept = await run(self)
            scalars: list[Any] = [result[()] if result.ndim == 0 else result for result in list[Any](results)]
            return scalars, kept
        return await run(self)

    monkeypatch.setattr(Transfer, "run", run_there)


async def inputs_lying_there(mill: am.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all inputs of jobs without streams lie in memory that the client shares, as they lie now."""
    pool, compute = Pool(await mill.empty(POOL_BYTES, "u1")), _shared_job.compute_shared

    async def compute_there(connection: Any, job: Any, *rest: Any) -> Any:
        return await compute(connection, replace(job, inputs=tuple(map(pool.moved, job.inputs))), *rest)

    monkeypatch.setattr(_caller, "compute_shared", compute_there)


POOL_BYTES = 32 << 20


class Pool:
    """Hands out parts of an array of bytes, one behind the other."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory
        self._used = 0

    def bytes(self, nbytes: int) -> Any:
        start, self._used = self._used, self._used + nbytes + 3  # the next one is not aligned
        assert self._used <= POOL_BYTES
        return self._memory[start : start + nbytes]

    def array(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.ndarray(shape, dtype, self.bytes(prod(shape) * np.dtype(dtype).itemsize))

    def moved(self, array: Any) -> Any:
        """The same values, with the same strides."""
        if array.size == 0 or any(stride < 0 for stride in array.strides):
            return array
        last = sum((length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True))
        copy = np.ndarray(array.shape, array.dtype, self.bytes(last + array.itemsize), 0, array.strides)
        copy[...] = array
        return copy
