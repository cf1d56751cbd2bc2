"""Tasks on memory beside the arena, by every worker that there is."""

from __future__ import annotations

import asyncio
import os
import signal
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pools import pool_of, shared_bytes, worker_pids

from arraymill_proto.errors import InternalError
from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.arena.segments import Segment, Segments, create
from arraymill_server.engine import worker
from arraymill_server.engine.base import Engine
from arraymill_server.plan.program import BlockTask, Program, ProgramRef, Region, Step, Store

COUNT = 1000
SIZE = 1 << 16


@pytest.fixture
def raw() -> RawBytes:
    return shared_bytes()


@pytest.fixture
def segments(raw: RawBytes) -> Segments:
    return Segments(Memory(attach(raw)))


def elements(segments: Segments, address: int) -> NDArray[np.float64]:
    return np.frombuffer(segments.space.bytes(address, 8 * COUNT), np.float64)


def square_root(segments: Segments, source: int, target: int) -> BlockTask:
    """Lay a program into the arena; return the task that runs it from one address to another."""
    encoded = msgspec.msgpack.encode(Program(("<f8",), (), (Step("sqrt", (0,), "<f8"),), (Store(1, "<f8"),)))
    segments.space.bytes(0, len(encoded))[:] = encoded
    ref = ProgramRef(blake2b(encoded, digest_size=16).digest(), 0, len(encoded))
    return BlockTask(ref, (0,), (COUNT,), (Region(source, (COUNT,), (8,)),), ((Region(target, (COUNT,), (8,)),),))


def maps_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def add(segments: Segments) -> Segment:
    return segments.add(create(SIZE), SIZE)


async def run_in(engine: Engine, segments: Segments, segment: Segment, number: float) -> None:
    """Compute within a segment, and see that it is done."""
    source, target = segment.address, segment.address + 8 * COUNT
    elements(segments, source)[:] = number
    await asyncio.gather(*(engine.submit("job", square_root(segments, source, target)) for _ in range(8)))
    np.testing.assert_array_equal(elements(segments, target), np.sqrt(number))


async def test_every_worker_knows_every_segment(raw: RawBytes, segments: Segments) -> None:
    first = add(segments)  # before the workers
    async with pool_of(2, raw, main=worker.main, segments=segments) as engine:
        second = add(segments)
        for segment in (first, second):
            await run_in(engine, segments, segment, 2.0)
        for pid in worker_pids():
            os.kill(pid, signal.SIGKILL)
        third = add(segments)  # while others come
        for segment in (first, second, third):
            await run_in(engine, segments, segment, 3.0)
        for segment in (first, second, third):
            segments.remove(segment)


async def test_a_segment_that_is_removed_is_gone_for_workers_too(raw: RawBytes, segments: Segments) -> None:
    async with pool_of(1, raw, main=worker.main, segments=segments) as engine:
        segment = add(segments)
        await run_in(engine, segments, segment, 2.0)
        task = square_root(segments, segment.address, 8 * COUNT)
        segments.remove(segment)
        with pytest.raises(InternalError):
            await engine.submit("job", task)
        (pid,) = worker_pids()
        assert "memfd:arraymill" not in maps_of(pid)
        assert engine.status.restarts == 0
