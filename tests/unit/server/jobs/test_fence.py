"""A job whose worker cannot be killed: it ends, and its memory stays leased until the fence falls."""

from __future__ import annotations

import asyncio
from ctypes import c_ubyte

import numpy as np
import pytest
from milling import Mill
from plans import floats, graph_of, operation

from arraymill_proto.errors import WorkerError
from arraymill_proto.graph import Resident
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Fence
from arraymill_server.jobs.request import Keep, Request
from arraymill_server.testing.exchange import MemoryExchange
from arraymill_server.testing.held_engine import HeldEngine

X = np.arange(4096.0)
DOUBLE = graph_of(floats(4096), Resident("x"), operation("add", 0, 1))


class FencedEngine(HeldEngine):
    """An engine that has a worker which cannot be killed."""

    fence: Fence | None = None

    async def wait_idle(self, job: str) -> Fence | None:
        return self.fence


@pytest.fixture
def arena() -> Arena:
    return Arena((c_ubyte * (1 << 20))())


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def fail_fenced(mill: Mill, engine: FencedEngine, request: Request) -> Fence:
    """Run a job that fails while a worker that cannot be killed holds a task of it."""
    fence = engine.fence = asyncio.get_running_loop().create_future()
    job = asyncio.create_task(mill.jobs.run(request, MemoryExchange([X])))
    await settle()
    engine.end_one(WorkerError("stuck"))
    with pytest.raises(WorkerError, match="stuck"):
        await job
    engine.fence = None
    return fence


async def keep_x(mill: Mill, engine: FencedEngine) -> None:
    keeping = asyncio.create_task(mill.keep(graph_of(floats(4096)), [X], "x"))
    while not keeping.done():
        if engine.held:
            engine.end_one()
        await asyncio.sleep(0)
    await keeping


async def test_memory_is_leased_until_the_fence_falls(arena: Arena) -> None:
    engine = FencedEngine(arena.space)
    mill = Mill(arena, engine)
    await keep_x(mill, engine)
    free, used = arena.free, mill.residents.used_bytes
    fence = await fail_fenced(mill, engine, Request(DOUBLE, "me", Keep("y")))
    assert not fence.done()
    (array,) = mill.residents.page()[0]
    assert array.pins == 1, "an input may still be read"
    assert mill.residents.used_bytes > used, "the array that was to be kept may still be written"
    assert arena.free < free
    assert mill.jobs.running == 1
    fence.set_result(None)
    await asyncio.sleep(0)
    assert (arena.free, mill.residents.used_bytes, array.pins, mill.jobs.running) == (free, used, 0, 0)
    mill.residents.delete("x")


async def test_whoever_waits_is_served_when_the_fence_falls(arena: Arena) -> None:
    engine = FencedEngine(arena.space)
    mill = Mill(arena, engine)
    await keep_x(mill, engine)
    fence = await fail_fenced(mill, engine, Request(DOUBLE, "me"))
    with mill.arena.lease(mill.arena.largest_free, "a neighbour") or pytest.fail("no room"):
        waiting = asyncio.create_task(mill.jobs.run(Request(DOUBLE, "me"), MemoryExchange([X])))
        await settle()
        assert mill.jobs.waiting == 1
        fence.set_result(None)
        while not waiting.done():
            if engine.held:
                engine.end_one()
            await asyncio.sleep(0)
        await waiting
    mill.residents.delete("x")
