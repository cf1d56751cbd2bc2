"""The same bits, however a job runs: engines, workers, frames, order of arrival, depth, holding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import pytest
from expressions import Expression
from milling import Mill
from pools import pool_of
from strategies import Array
from ways import Way

from arraymill_proto.graph import Constant, Graph, Input, Operation
from arraymill_proto.validate import infer_graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine import worker
from arraymill_server.engine.base import Engine
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.plan.model import JobPlan
from arraymill_server.plan.planner import PlanLimits, plan_job

DTYPES: Final = (np.float32, np.float64)
LARGE: Final = (600, 900, 2)
"""Elements of several blocks, whichever the dtype."""

FRAMES: Final = {
    "serial": (64 << 10, 1 << 20),
    "pool of 1": (64 << 10,),
    "pool of 2": (1 << 20,),
    "pool of 3": (64 << 10,),
}
"""Bytes of the frames in which each engine gets a large array; tests/integration tries every one with real servers."""

ENGINES: Final = tuple(FRAMES)


def ill_conditioned(dtype: type[np.generic], shape: tuple[int, ...]) -> Array:
    """Numbers of many magnitudes, most of which cancel: any other order of summation gives other bits."""
    random = np.random.default_rng(11)
    size = int(np.prod(shape))
    large = random.standard_normal(size // 2) * 10.0 ** random.integers(-8, 8, size // 2)
    x = np.concatenate([large, -large * (1 + 1e-3 * random.standard_normal(size // 2)), np.ones(size % 2)])
    return random.permutation(x).astype(dtype).reshape(shape)


def moments(x: Array) -> Graph:
    """Everything that rounds: over all elements, along each axis, and scanned."""
    nodes: list[Any] = [Input(x.shape, x.dtype)]
    for name in ("sum", "mean", "var", "std"):
        nodes += [Operation(name, (0,)), *(Operation(name, (0,), {"axis": axis}) for axis in range(x.ndim))]
    nodes += [Operation("cumsum", (0,)), *(Operation("cumsum", (0,), {"axis": axis}) for axis in range(x.ndim))]
    last = len(nodes) - 1
    nodes += [Operation("mean", (0,), {"axis": 0, "keepdims": True}), Operation("subtract", (0, last + 1))]
    nodes += [Constant(2.5), Operation("multiply", (last + 2, last + 3)), Operation("sum", (last + 4,))]
    return Graph(tuple(nodes), (*range(1, last + 1), last + 4, last + 5))


def plan_of(graph: Graph) -> JobPlan:
    return plan_job(graph, infer_graph(graph, Expression().type_of), {}, PlanLimits(hold_bytes=0))


def as_bytes(results: list[Array]) -> list[bytes]:
    return [result.tobytes() for result in results]


@asynccontextmanager
async def engine_of(name: str, arena: Arena) -> AsyncGenerator[Engine]:
    if name == "serial":
        yield SerialEngine(arena.space)
        return
    async with pool_of(int(name.rpartition(" ")[2]), arena.raw, main=worker.main) as engine:
        yield engine


@pytest.mark.parametrize("dtype", DTYPES)
def test_another_order_would_give_other_bits(dtype: type[np.generic]) -> None:
    x = ill_conditioned(dtype, LARGE)
    assert x.sum() != np.roll(x, 12_345).sum() != 0
    assert len(plan_of(moments(x)).passes[0].domain) > 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_order_depth_pieces_and_holding_change_no_bit(dtype: type[np.generic]) -> None:
    x = ill_conditioned(dtype, (4, 3, 2))
    graph = moments(x)
    for elements in range(1, 8):
        reference = as_bytes(Way(block_elements=elements).run(graph, [x]))
        for seed, hold_bytes in ((elements, 0), (elements + 1, 1 << 20)):
            way = Way(seed, depth=1 + seed, block_elements=elements, hold_bytes=hold_bytes)
            assert as_bytes(way.run(graph, [x])) == reference, way


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_large_arrays_come_in_any_order(dtype: type[np.generic]) -> None:
    x = ill_conditioned(dtype, LARGE)
    graph = moments(x)
    reference = as_bytes(Way(is_watched=False).run(graph, [x]))
    assert reference == as_bytes(Way(seed=3, depth=8, hold_bytes=0, is_watched=False).run(graph, [x]))


@pytest.mark.parametrize("dtype", DTYPES)
async def test_engines_workers_and_frames_change_no_bit(dtype: type[np.generic]) -> None:
    x = ill_conditioned(dtype, LARGE)
    graph = moments(x)
    arena = Arena.create(96 << 20)
    answers: dict[tuple[str, int], list[bytes]] = {}
    for name, frames in FRAMES.items():
        async with engine_of(name, arena) as engine:
            for frame_bytes in frames:
                results = await Mill(arena, engine).compute(graph, [x], frame_bytes=frame_bytes, seed=frame_bytes)
                answers[name, frame_bytes] = as_bytes(results)
    reference = answers["serial", 1 << 20]
    assert [case for case, answer in answers.items() if answer != reference] == []


@pytest.mark.parametrize("elements", range(1, 8))
async def test_engines_and_workers_change_no_bit_of_small_blocks(elements: int) -> None:
    x = ill_conditioned(np.float32, (5, 3, 2))
    graph = moments(x)
    arena = Arena.create(1 << 20)
    reference = as_bytes(Way(block_elements=elements).run(graph, [x]))
    for name in ENGINES:
        async with engine_of(name, arena) as engine:
            mill = Mill(arena, engine, block_elements=elements)
            results = await asyncio.gather(
                mill.compute(graph, [x], frame_bytes=8, seed=1), mill.compute(graph, [x], frame_bytes=5, seed=2)
            )
        assert [as_bytes(result) for result in results] == [reference, reference], name
