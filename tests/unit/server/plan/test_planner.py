"""What the planner decides: passes, blocks, orders, and what is held."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import floats, graph_of, operation, plan_of, view_of
from strategies import shapes

from arraymill_proto.graph import Constant, Graph, Input, Order, Resident, Shape
from arraymill_server.plan.blocks import BLOCK_BYTES
from arraymill_server.plan.model import Fixed, JobPlan, Stream
from arraymill_server.plan.planner import SLOT_BYTES, WHOLE_RESULT_BYTES
from arraymill_server.plan.workspace import JobLayout


def scores(*shape: int) -> Graph:
    """(x - mean(x)) / std(x)."""
    return graph_of(
        floats(*shape),
        operation("mean", 0),
        operation("std", 0),
        operation("subtract", 0, 1),
        operation("divide", 3, 2),
    )


def sources(plan: JobPlan) -> list[list[object]]:
    return [[operand.source for operand in step.operands] for step in plan.passes]


def test_reductions_of_one_array_share_a_pass() -> None:
    plan = plan_of(scores(50, 40))
    assert [len(step.reductions) for step in plan.passes] == [2, 0]
    assert sorted(type(source).__name__ for source in sources(plan)[1]) == ["Kept", "Kept", "Stream"]
    assert plan.blocks == sum(len(step.domain) for step in plan.passes)


def test_an_array_that_is_read_twice_is_held_if_it_fits() -> None:
    for hold_bytes, held in ((15_999, ()), (16_000, ((0, 16_000),))):
        plan = plan_of(scores(50, 40), hold_bytes=hold_bytes)
        assert plan.held == held
        streams = [source for step in sources(plan) for source in step if isinstance(source, Stream)]
        assert [stream.held for stream in streams] == [bool(held)] * 2


def test_the_smallest_arrays_are_held_first() -> None:
    nodes = [floats(30), floats(10), floats(20)]
    for index in range(3):
        mean = len(nodes)
        nodes += [operation("mean", index), operation("subtract", index, mean)]  # type: ignore[list-item]
    plan = plan_of(Graph(tuple(nodes), (4, 6, 8)), hold_bytes=250)
    assert plan.held == ((1, 80), (2, 160))


def test_an_array_that_many_blocks_read_is_held() -> None:
    graph = graph_of(floats(6), floats(4, 6), operation("add", 0, 1))
    assert plan_of(graph, block_elements=6).held == ((0, 48),)
    assert plan_of(graph).held == ()


def test_arrays_that_are_not_connected_have_passes_of_their_own() -> None:
    two = graph_of(floats(5), floats(5), operation("sum", 0), operation("sum", 1), outputs=(2, 3))
    assert len(plan_of(two).passes) == 2
    one = graph_of(
        floats(5), floats(5), operation("sum", 0), operation("add", 0, 1), operation("sum", 3), outputs=(2, 4)
    )
    assert len(plan_of(one).passes) == 1


@given(shapes(max_dims=3, max_side=9), st.integers(1, 50), st.booleans())
def test_blocks_depend_on_the_expression_only(shape: Shape, elements: int, hold: bool) -> None:
    graph = graph_of(floats(*shape), operation("cumsum", 0), operation("sum", 1), outputs=(1, 2))
    plans = [plan_of(graph, block_elements=elements, hold_bytes=bytes_) for bytes_ in (0, 1 << 30)]
    assert [step.domain for step in plans[0].passes] == [step.domain for step in plans[1].passes]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_blocks_follow_the_order_in_which_most_bytes_lie(order: Order) -> None:
    graph = graph_of(floats(6, 8, order=order), operation("sqrt", 0))
    (step,) = plan_of(graph, block_elements=8).passes
    assert step.domain.order == order
    assert step.stores[0].result.order == order
    assert isinstance(step.operands[0].source, Stream)
    assert step.operands[0].source.order == order


def test_the_order_of_resident_arrays_is_that_of_their_strides() -> None:
    graph = graph_of(Resident("x"), operation("sqrt", 0))
    view = view_of((3, 4, 5), order=(2, 0, 1), offset=640)
    (step,) = plan_of(graph, residents={0: view}).passes
    assert step.domain.order == (2, 0, 1)
    assert step.operands[0].source == Fixed(640)
    assert step.operands[0].strides == (96, 32, 8)


@pytest.mark.parametrize("name", ["argmin", "argmax", "cumsum"])
def test_what_counts_in_c_order_is_walked_in_c_order(name: str) -> None:
    (step,) = plan_of(graph_of(floats(4, 5, order=(1, 0)), operation(name, 0))).passes
    assert step.domain.order == (0, 1)


def test_more_arrays_make_smaller_blocks() -> None:
    rows = 4 << 10
    inputs = [floats(rows, 1024) for _ in range(8)]
    adds = [operation("add", 0, 1)]
    adds += [operation("add", 6 + index, index) for index in range(2, 8)]
    (alone,) = plan_of(graph_of(inputs[0], operation("sum", 0))).passes
    (together,) = plan_of(graph_of(*inputs, *adds)).passes
    assert prod(alone.domain.block(0).shape) * 8 == BLOCK_BYTES
    assert SLOT_BYTES // 2 < prod(together.domain.block(0).shape) * 8 * 9 <= SLOT_BYTES


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 21), (3, 1 << 40, 5), (1,) * 31 + (1 << 36,)])
def test_arrays_of_any_size_are_planned_alike(shape: Shape) -> None:
    """Neither time nor memory grows with an array: its sum takes the workspace of a few blocks."""
    plan = plan_of(
        graph_of(floats(*shape), operation("sum", 0), operation("sqrt", 0), outputs=(1, 2)), hold_bytes=1 << 30
    )
    assert plan.blocks >= prod(shape) * 8 // BLOCK_BYTES
    assert JobLayout(plan, 4).nbytes < 4 * 2 * BLOCK_BYTES + (1 << 16)


def test_small_results_of_reductions_are_collected() -> None:
    columns = WHOLE_RESULT_BYTES // 8
    for extra, whole in ((0, True), (1, False)):
        plan = plan_of(graph_of(floats(2, columns + extra), operation("sum", 0, axis=0)))
        assert plan.outputs[0].whole is whole


def test_a_result_that_is_kept_is_collected() -> None:
    plan = plan_of(graph_of(floats(9), operation("sqrt", 0)), keep=True)
    assert plan.keep
    assert plan.outputs[0].whole


def test_constants_and_folded_reductions_take_no_operands() -> None:
    graph = graph_of(
        Constant(2), operation("sum", 0), Input((0, 3), np.dtype(int)), operation("sum", 2, axis=0), outputs=(0, 1, 3)
    )
    plan = plan_of(graph)
    assert all(not step.operands for step in plan.passes)
    assert [output.type.shape for output in plan.outputs] == [(), (), (3,)]


def test_a_flat_scan_behind_another_one_is_walked_in_c_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill_server.plan.domain.OPEN_CELL_BYTES", 0)
    by_axis = operation("cumsum", 0, axis=0)
    (step,) = plan_of(graph_of(floats(4, 4), by_axis), block_elements=2).passes
    assert step.domain.sequence == (1, 0)
    (step,) = plan_of(graph_of(floats(4, 4), by_axis, operation("cumsum", 1)), block_elements=2).passes
    assert step.domain.sequence == (0, 1)


def test_roots_that_need_other_sequences_have_passes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill_server.plan.domain.OPEN_CELL_BYTES", 0)
    graph = graph_of(floats(4, 4), operation("cumsum", 0, axis=0), operation("cumsum", 0), outputs=(1, 2))
    plan = plan_of(graph, block_elements=2)
    assert [step.domain.sequence for step in plan.passes] == [(1, 0), (0, 1)]
