"""Batches: several blocks in one task, and no bit of a result depends on it."""

from __future__ import annotations

from ctypes import c_ubyte
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milling import Mill
from plans import floats, graph_of, operation, plan_of
from profiles import examples
from strategies import Array
from ways import Way

from arraymill_proto.graph import Graph, Input, Operation, Resident
from arraymill_proto.validate import infer_graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.plan import planner
from arraymill_server.plan.batches import LEAST_BATCHES, MAX_BATCH, MAX_STREAMED, batch_at
from arraymill_server.plan.model import PassPlan, ResidentView
from arraymill_server.plan.planner import PlanLimits, plan_job

FLOAT = np.dtype(np.float64)
LEAST = 2 * LEAST_BATCHES
"""Blocks of the shortest pass that has batches."""

MANY = MAX_BATCH * LEAST_BATCHES
"""Blocks of the shortest pass that has the largest."""

BLOCK = 3


def step_of(*nodes: Operation, blocks: int = MANY, shape: tuple[int, ...] = (), is_there: bool = True) -> PassPlan:
    """Return a job's only pass over an array that is in memory already, or comes from the client."""
    shape = shape or (blocks * BLOCK,)
    graph = Graph((Input(shape, FLOAT), *nodes), (len(nodes),))
    strides = tuple(np.empty(shape).strides)
    views = {0: ResidentView(0, shape, strides, FLOAT)} if is_there else {}
    operands = infer_graph(graph, lambda _: pytest.fail("nothing is resident"))
    limits = PlanLimits(hold_bytes=0, block_elements=BLOCK)
    (step,) = plan_job(graph, operands, views, limits, keep=True).passes
    return step


def batch_of(*nodes: Operation, **more: Any) -> int:
    """Return the size of its largest batches."""
    return step_of(*nodes, **more).batch


def test_which_passes_have_batches() -> None:
    assert batch_of(Operation("sum", (0,))) == MAX_BATCH
    assert batch_of(Operation("sqrt", (0,))) == MAX_BATCH
    assert batch_of(Operation("multiply", (0, 0)), Operation("var", (1,))) == MAX_BATCH
    assert batch_of(Operation("sum", (0,)), blocks=MANY - 1) == MAX_BATCH // 2
    assert batch_of(Operation("sum", (0,)), blocks=LEAST) == 2


@pytest.mark.parametrize(
    ("blocks", "expected"), [(64, [8] * 7 + [4, 2, 1, 1]), (40, [4] * 9 + [2, 1, 1]), (17, [2] * 7 + [1] * 3)]
)
def test_a_pass_ends_with_single_blocks(blocks: int, expected: list[int]) -> None:
    step, sizes, number = step_of(Operation("sum", (0,)), blocks=blocks), list[int](), 0
    while number < blocks:
        sizes.append(batch_at(number, step, step.batch))
        assert number % sizes[-1] == 0, "a whole subtree"
        number += sizes[-1]
    assert (sizes, number) == (expected, blocks)


def test_which_passes_have_none() -> None:
    assert batch_of(Operation("sum", (0,)), blocks=LEAST - 1) == 1, "too few for every worker to have some"
    assert batch_of(Operation("exp", (0,)), Operation("sum", (1,))) == 1, "each block takes long"
    assert batch_of(Operation("cumsum", (0,))) == 1, "blocks wait for each other"
    assert batch_of(operation("sum", 0, axis=1), shape=(LEAST, BLOCK)) == 1, "each block is a result"


def test_which_streams_are_asked_for_in_batches() -> None:
    assert batch_of(Operation("sum", (0,)), is_there=False) == MAX_STREAMED
    assert batch_of(Operation("multiply", (0, 0)), Operation("var", (1,)), is_there=False) == MAX_STREAMED
    assert batch_of(operation("sum", 0, axis=0), shape=(LEAST, BLOCK), is_there=False) == MAX_STREAMED
    assert batch_of(Operation("sum", (0,)), blocks=LEAST - 1, is_there=False) == 1
    mean, deviation = Operation("mean", (0,)), Operation("subtract", (0, 1))
    graph = Graph((Input((MANY * BLOCK,), FLOAT), mean, deviation, Operation("sum", (2,))), (3,))
    for hold_bytes, expected in ((0, [MAX_STREAMED] * 2), (1 << 20, [1, 1])):
        plan = plan_of(graph, block_elements=BLOCK, hold_bytes=hold_bytes)
        assert [step.batch for step in plan.passes] == expected, "what is held has a place of its own"
    row = Graph(
        (Input((LEAST, BLOCK), FLOAT), Input((BLOCK,), FLOAT), Operation("add", (0, 1)), Operation("sum", (2,))), (3,)
    )
    assert plan_of(row, block_elements=BLOCK).passes[0].batch == 1, "every block reads the same row"


def apart(_: PassPlan) -> int:
    return 1


async def values_of(x: Array, ops: tuple[str, ...], *, has_batches: bool) -> list[bytes]:
    """Compute an array that is kept, and reductions of it, on blocks of some elements."""
    arena = Arena((c_ubyte * (1 << 20))())
    mill = Mill(arena, SerialEngine(arena.space), block_elements=BLOCK)
    with pytest.MonkeyPatch.context() as patch:
        if not has_batches:
            patch.setattr(planner, "batch_of", apart)
        (kept,) = (await mill.keep(graph_of(floats(*x.shape)), [x])).arrays
        there, product = Resident(kept.id), operation("multiply", 0, 0)
        values = [await mill.compute(graph_of(there, product, operation(op, 1))) for op in ops]
        (root,) = (await mill.keep(graph_of(there, operation("sqrt", 0)))).arrays
        values.append(await mill.compute(graph_of(Resident(root.id))))
    for array in (kept, root):
        mill.residents.delete(array.id)
    assert not arena.leases
    return [value.tobytes() for (value,) in values]


@examples(12)
@given(blocks=st.integers(LEAST, 80), rest=st.integers(0, BLOCK - 1), seed=st.integers(0, 1 << 30))
async def test_the_same_bits_with_and_without(blocks: int, rest: int, seed: int) -> None:
    x = np.random.default_rng(seed).random(blocks * BLOCK + rest)
    ops = ("sum", "var", "min", "argmax")
    with_batches = await values_of(x, ops, has_batches=True)
    assert with_batches == await values_of(x, ops, has_batches=False)
    np.testing.assert_allclose(np.frombuffer(with_batches[0]), (x * x).sum())
    assert with_batches[-1] == np.sqrt(x).tobytes()


@examples(25)
@given(
    blocks=st.integers(LEAST, 80),
    rest=st.integers(0, BLOCK - 1),
    elements=st.integers(1, 7),
    depth=st.integers(4, 12),
    seed=st.integers(0, 1 << 30),
)
def test_the_same_bits_however_much_is_asked_for_at_once(
    blocks: int, rest: int, elements: int, depth: int, seed: int
) -> None:
    x, y = np.random.default_rng(seed).random((2, blocks * elements + rest))
    nodes = [operation("multiply", 0, 1), *(operation(op, 2) for op in ("sum", "var", "min", "argmax"))]
    graph = graph_of(floats(*x.shape), floats(*x.shape), *nodes, outputs=(3, 4, 5, 6))
    together = Way(seed, depth, elements, hold_bytes=0).run(graph, [x, y])
    apart = Way(None, 1, elements, hold_bytes=0).run(graph, [x, y])
    assert [value.tobytes() for value in together] == [value.tobytes() for value in apart]
    np.testing.assert_allclose(together[0], (x * y).sum())
    np.testing.assert_array_equal(together[2:], [(x * y).min(), (x * y).argmax()])


async def test_columns_are_merged_in_batches_too() -> None:
    x = np.random.default_rng(5).random((LEAST + 7, BLOCK))
    arena = Arena((c_ubyte * (1 << 20))())
    mill = Mill(arena, SerialEngine(arena.space), block_elements=BLOCK)
    (kept,) = (await mill.keep(graph_of(floats(*x.shape)), [x])).arrays
    (value,) = await mill.compute(graph_of(Resident(kept.id), operation("sum", 0, axis=0)))
    np.testing.assert_allclose(value, x.sum(axis=0))
