"""Reductions and scans as kernels are told of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plans import floats, graph_of, operation

from arraymill_proto.graph import ArrayType, Constant, Graph, Input, NodeRef, Operation
from arraymill_proto.validate import infer_graph
from arraymill_server.ops.spec import ReduceSpec, Scalar, ScanSpec
from arraymill_server.plan.reduce import empty_result, ravels, reduce_spec, scan_spec


def types_of(graph: Graph) -> list[ArrayType]:
    operands = infer_graph(graph, lambda _: NotImplemented)
    return [known if isinstance(known, ArrayType) else ArrayType((), np.asarray(known).dtype) for known in operands]


def test_axes_are_counted_in_the_order_of_the_domain() -> None:
    graph = graph_of(floats(2, 3, 4), operation("sum", 0, axis=(-1, 0), dtype=np.dtype(np.float32)))
    spec = reduce_spec(graph.nodes, types_of(graph), 1, (2, 0, 1))
    assert spec == ReduceSpec("sum", (0, 1), "<f8", "<f4", dtype="<f4")


def test_parameters_of_reductions() -> None:
    mask, initial = NodeRef(1), NodeRef(2)
    nodes = (floats(2, 3), Constant(True), Constant(np.float32(7)))
    graph = graph_of(
        *nodes, operation("min", 0, where=mask, initial=initial), operation("var", 0, ddof=1), operation("argmin", 0)
    )
    least, spread, position = (reduce_spec(graph.nodes, types_of(graph), node, (0, 1)) for node in (3, 4, 5))
    assert (least.masked, least.initial) == (True, Scalar.of(np.float32(7)))
    assert (spread.masked, spread.initial, spread.ddof) == (False, None, 1.0)
    assert (position.flat, position.axes) == ((2, 3), (0, 1))


@pytest.mark.parametrize(
    ("shape", "params", "expected"),
    [
        ((2, 3), {"axis": -1}, ScanSpec("cumsum", 0, "<f8", "<f8")),
        ((2, 3), {"axis": 0}, ScanSpec("cumsum", 1, "<f8", "<f8")),
        ((2, 3), {}, ScanSpec("cumsum", 0, "<f8", "<f8", flat=True)),
        ((4,), {}, ScanSpec("cumsum", 0, "<f8", "<f8")),
        ((), {}, ScanSpec("cumsum", 0, "<f8", "<f8", flat=True)),
        ((), {"axis": 0}, ScanSpec("cumsum", 0, "<f8", "<f8", flat=True)),
    ],
)
def test_scans(shape: tuple[int, ...], params: dict[str, Any], expected: ScanSpec) -> None:
    graph = graph_of(floats(*shape), operation("cumsum", 0, **params))
    order = tuple(reversed(range(len(shape))))
    assert scan_spec(graph.nodes, types_of(graph), 1, order) == expected
    scan = graph.nodes[1]
    assert isinstance(scan, Operation)
    assert ravels(scan, len(shape)) is expected.flat


@pytest.mark.parametrize("name", ["sum", "prod", "any", "all", "count_nonzero", "mean", "var", "std"])
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float16, np.complex64])
def test_reductions_of_nothing_are_numpys(name: str, dtype: type[np.generic]) -> None:
    graph = graph_of(Input((0, 3), np.dtype(dtype)), operation(name, 0, axis=0))
    value = empty_result(graph.nodes, types_of(graph), 1)
    with pytest.warns(RuntimeWarning) if name in ("mean", "var", "std") else np.errstate():
        expected = getattr(np, name)(np.empty((0, 3), dtype), axis=0)
    np.testing.assert_array_equal(np.full(3, value), expected)
    assert value.dtype == expected.dtype


def test_the_least_of_nothing_in_a_result_of_nothing_needs_no_identity() -> None:
    graph = graph_of(floats(0, 3), operation("min", 0, axis=1))
    assert empty_result(graph.nodes, types_of(graph), 1) == 0
