"""Jobs of which arrays lie in memory already: inputs that are not asked for, results that are left in place."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ctypes import c_ubyte

import numpy as np
import pytest
from memory_lane import PAGE, budget_of, is_free
from milling import Mill
from plans import floats, graph_of, operation
from strategies import Array

from arraymill_proto.errors import ComputationError, ShapeError
from arraymill_proto.graph import Constant, Graph, Input
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.segments import Segment, Segments, create
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.request import Request, Target
from arraymill_server.plan.model import ResidentView
from arraymill_server.rpc.shared import Held, SharedMemory, Staging
from arraymill_server.testing.exchange import MemoryExchange

X = np.arange(6000.0).reshape(60, 100)
PATTERN = 0xA5


class Bench(Mill):
    """A mill with a segment beside its arena."""

    def __init__(self) -> None:
        arena = Arena((c_ubyte * (1 << 20))())
        super().__init__(arena, SerialEngine(arena.space), block_elements=512)
        self.segments = Segments(arena.space)
        size = 64 * PAGE
        self.segment: Segment = self.segments.add(create(size), size)
        self.bytes = np.frombuffer(self.segment.memory, np.uint8)
        self.bytes[:] = PATTERN
        self.held: list[str] = []

    def target(self, offset: int, room_bytes: int | None = None) -> Target:
        rest = self.segment.size - offset
        return Target(self.segment.address + offset, rest if room_bytes is None else room_bytes)

    def left(self, offset: int, like: Array) -> Array:
        """What was left there; around it nothing is changed."""
        end = offset + like.nbytes
        found: Array = self.bytes[offset:end].view(like.dtype).reshape(like.shape).copy()
        self.bytes[offset:end] = PATTERN
        assert (self.bytes == PATTERN).all()
        return found

    def hold(self) -> Release:
        self.held.append("held")
        return Release(self.held)

    async def run(self, graph: Graph, arrays: list[Array], *targets: Target) -> MemoryExchange:
        exchange = MemoryExchange(arrays)
        await self.jobs.run(Request(graph, "me", targets=targets, hold=self.hold), exchange)
        return exchange


class Release:
    """Notes that what was held is let go of."""

    def __init__(self, held: list[str]) -> None:
        self._held = held

    def __call__(self) -> None:
        self._held.append("released")


@asynccontextmanager
async def bench() -> AsyncGenerator[Bench]:
    bench = Bench()
    yield bench
    assert bench.held == ["held", "released"] * (len(bench.held) // 2)
    assert bench.arena.leases == ()
    bench.segments.remove(bench.segment)


async def test_results_are_left_where_they_shall_be() -> None:
    """A large one, and one of a reduction; at addresses that are not aligned."""
    graph = graph_of(floats(60, 100), operation("sqrt", 0), operation("sum", 0, axis=0, keepdims=False), outputs=(1, 2))
    async with bench() as mill:
        exchange = await mill.run(graph, [X], mill.target(100_001), mill.target(24))
        assert exchange.started is not None
        assert exchange.started.is_placed
        assert exchange.sent_bytes == 0
        total = mill.bytes[24 : 24 + 800].view("f8").copy()
        mill.bytes[24 : 24 + 800] = PATTERN
        assert np.array_equal(mill.left(100_001, X), np.sqrt(X))
        np.testing.assert_allclose(total, X.sum(axis=0))


async def test_results_of_other_orders_are_sent() -> None:
    async with bench() as mill:
        graph = Graph((floats(60, 100, order=(1, 0)), operation("sqrt", 0)), (1,))
        exchange = await mill.run(graph, [X], mill.target(0))
        assert exchange.started is not None
        assert not exchange.started.is_placed
        assert np.array_equal(exchange.results[0], np.sqrt(X))
        assert (mill.bytes == PATTERN).all()


async def test_a_value_that_is_two_results_is_sent() -> None:
    async with bench() as mill:
        graph = graph_of(floats(60, 100), operation("sqrt", 0), outputs=(1, 1))
        exchange = await mill.run(graph, [X], mill.target(0), mill.target(100_000))
        assert exchange.started is not None
        assert not exchange.started.is_placed
        assert [np.array_equal(result, np.sqrt(X)) for result in exchange.results] == [True, True]
        assert (mill.bytes == PATTERN).all()


@pytest.mark.parametrize("room", [0, X.nbytes - 1])
async def test_too_little_room(room: int) -> None:
    async with bench() as mill:
        graph = graph_of(floats(60, 100), operation("sqrt", 0))
        with pytest.raises(ShapeError, match=f"output 0 has 48,000 bytes, there are {room:,} where"):
            await mill.run(graph, [X], mill.target(0, room))
        assert mill.held == []
        await mill.run(graph, [X], mill.target(8, X.nbytes))
        assert np.array_equal(mill.left(8, X), np.sqrt(X))


async def test_what_is_held_is_let_go_of_when_the_job_fails() -> None:
    async with bench() as mill:
        graph = graph_of(
            floats(4), operation("astype", 0, dtype=np.dtype("i8")), Constant(-1), operation("power", 1, 2)
        )
        with pytest.raises(ComputationError):
            await mill.run(graph, [np.arange(4.0)], mill.target(0))
        assert mill.held == ["held", "released"]


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
async def test_inputs_are_read_where_they_lie(dtype: str) -> None:
    """With steps, in any byte order, unaligned, and never asked for."""
    async with bench() as mill:
        wide = np.zeros((60, 200), dtype)
        wide[:, ::2] = X
        mill.bytes[3 : 3 + wide.nbytes] = np.frombuffer(wide.tobytes(), np.uint8)
        view = ResidentView(mill.segment.address + 3, (60, 100), (1600, 16), np.dtype(dtype))
        graph = graph_of(Input((60, 100), np.dtype(dtype)), floats(60, 100), operation("add", 0, 1))
        exchange = MemoryExchange([X, X])
        report = await mill.jobs.run(Request(graph, "me", views={0: view}, hold=mill.hold), exchange)
        assert np.array_equal(exchange.results[0], 2 * X)
        assert exchange.started is not None
        assert (exchange.started.at_hand_bytes, report.received_bytes) == (X.nbytes, X.nbytes)


async def test_a_workspace_in_shared_memory_needs_none_of_the_arena() -> None:
    budget = budget_of(256 * PAGE)
    memory = SharedMemory(budget, "me")
    arena = Arena((c_ubyte * (1 << 20))())
    held: Held = await memory.make(128 * PAGE)
    arena.space.add(held.segment.number, held.segment.memory)
    mill = Mill(arena, SerialEngine(arena.space), block_elements=512)
    with arena.lease(arena.size, "all of it") or pytest.fail("the arena is not free"):
        exchange = MemoryExchange([X])
        graph = graph_of(floats(60, 100), operation("sqrt", 0))
        await mill.jobs.run(Request(graph, "me", room=Staging(held)), exchange)
        assert np.array_equal(exchange.results[0], np.sqrt(X))
        assert mill.jobs.running == 0
    memory.close()
    assert is_free(budget)
