"""Programs: what is computed once, in which stage, from which operands."""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import numpy as np
import pytest
from plans import floats, graph_of, operation, plan_of

from arraymill_proto.graph import Constant, Graph, Input, NodeRef
from arraymill_server.plan.model import CarryRef, OperandRef, ScannedRef, Stage
from arraymill_server.plan.program import Program, Reduce, Scan, Store


def stages_of(graph: Graph) -> tuple[Stage, ...]:
    (step,) = plan_of(graph).passes
    return step.stages


def test_a_program_travels_as_it_is_and_is_named_by_its_bytes() -> None:
    (stage,) = stages_of(graph_of(floats(4), Constant(2), operation("multiply", 0, 1), operation("sum", 2)))
    assert msgspec.msgpack.decode(stage.encoded, type=Program) == stage.program
    assert stage.digest == blake2b(stage.encoded, digest_size=16).digest()


def test_what_two_roots_need_is_computed_once() -> None:
    nodes = (floats(4), operation("sqrt", 0), operation("sum", 1), operation("max", 1), operation("negative", 1))
    (stage,) = stages_of(graph_of(*nodes, outputs=(2, 3, 4)))
    assert [step.op for step in stage.program.steps] == ["sqrt", "negative"]
    assert stage.operands == (OperandRef(0),)
    assert [type(sink) for sink in stage.program.sinks] == [Store, Reduce, Reduce]
    assert [sink.arg for sink in stage.program.sinks] == [2, 1, 1]


def test_operands_keep_their_byte_order_and_steps_have_the_native_one() -> None:
    (stage,) = stages_of(graph_of(Input((4,), np.dtype(">f4")), operation("sqrt", 0)))
    assert stage.program.operands == (">f4",)
    assert stage.program.steps[0].dtype == "<f4"


def test_constants_are_negative_registers() -> None:
    nodes = (floats(4), Constant(2), Constant(np.float32(3)), operation("add", 0, 1), operation("add", 3, 2))
    (stage,) = stages_of(graph_of(*nodes))
    assert [scalar.kind for scalar in stage.program.constants] == ["int", "<f4"]
    assert [step.args for step in stage.program.steps] == [(0, -1), (1, -2)]


def test_a_scan_ends_a_stage() -> None:
    nodes = (floats(4, 5), operation("sqrt", 0), operation("cumsum", 1, axis=0), operation("add", 2, 0))
    graph = graph_of(*nodes, operation("cumsum", 3, axis=1), operation("sum", 1), outputs=(4, 5))
    first, second, third = stages_of(graph)
    assert [step.op for step in first.program.steps] == ["sqrt"]
    assert [type(sink) for sink in first.program.sinks] == [Reduce, Scan]
    assert (first.reductions, first.scans, first.stores) == ((0,), (0,), ())
    assert set(second.operands) == {ScannedRef(0), CarryRef(0), OperandRef(0)}
    assert [step.op for step in second.program.steps] == ["scan.add", "add"]
    assert (second.scans, second.stores) == ((1,), ())
    assert third.operands == (ScannedRef(1), CarryRef(1))
    assert (third.stores, [type(sink) for sink in third.program.sinks]) == ((0,), [Store])


@pytest.mark.parametrize(
    ("bounds", "kernel", "arity"),
    [({}, "positive", 1), ({"min": 1}, "clip.min", 2), ({"max": 1}, "clip.max", 2), ({"max": 1, "min": 1}, "clip", 3)],
)
def test_kernels_of_clip(bounds: dict[str, int], kernel: str, arity: int) -> None:
    clip = operation("clip", 0, **{name: NodeRef(node) for name, node in bounds.items()})
    (stage,) = stages_of(graph_of(floats(4), Constant(1), clip))
    (step,) = stage.program.steps
    assert (step.op, len(step.args)) == (kernel, arity)


def test_parameters_reach_the_kernel() -> None:
    rounded = operation("round", 0, decimals=2)
    cast = operation("astype", 1, dtype=np.dtype(np.int8))
    (stage,) = stages_of(graph_of(floats(4), rounded, cast, operation("frexp", 2, part=1)))
    assert [step.params for step in stage.program.steps] == [{"decimals": 2}, {"dtype": "|i1"}, {"part": 1}]


def test_an_expression_thousands_of_nodes_deep() -> None:
    (stage,) = stages_of(graph_of(floats(4), *(operation("negative", node) for node in range(4000))))
    assert len(stage.program.steps) == 4000
