"""Validation of whole graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import graphs, shapes, slices

from arraymill_proto.catalogue import operand_type
from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    AxisError,
    DTypeError,
    GraphError,
    IntegerOverflowError,
    ParameterError,
    ShapeError,
    UnknownOperationError,
)
from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, NodeRef, Operation, Resident, Slice
from arraymill_proto.limits import MAX_NODES
from arraymill_proto.validate import infer_graph, input_type, sliced_type

FLOAT = np.dtype(float)
X = Input((3, 4), FLOAT)


def nothing(node: Resident) -> ArrayType:
    raise ArrayNotFoundError(f"no array {node.id}")


def test_every_node_gets_its_type() -> None:
    nodes = (
        Input((3, 4), np.dtype(">f4")),
        Constant(2),
        Operation("power", (0, 1)),
        Resident("kept", (Slice(5, -1, 3),)),
        Operation("greater", (3, 1)),
        Operation("mean", (2,), {"axis": (1,), "keepdims": True, "where": NodeRef(4)}),
    )
    known = infer_graph(Graph(nodes, (5, 0)), lambda _: ArrayType((6, 4), np.dtype("i8")))
    assert known == (
        ArrayType((3, 4), np.dtype("f4")),
        2,
        ArrayType((3, 4), np.dtype("f4")),
        ArrayType((3, 4), np.dtype("i8")),
        ArrayType((3, 4), np.dtype(bool)),
        ArrayType((3, 1), np.dtype("f4")),
    )


@given(graphs())
def test_any_graph_is_typed_or_refused(graph: Graph) -> None:
    try:
        known = infer_graph(graph, lambda _: ArrayType((5, 5, 5), FLOAT))
    except ArraymillError as exc:
        refused = exc
    else:
        assert len(known) == len(graph.nodes)
        assert all(operand_type(known[output]).dtype.isnative for output in graph.outputs)
        return
    assert {"node", "output"} & set(refused.details)


@pytest.mark.parametrize(
    ("node", "error", "words"),
    [
        (Operation("sqrt", (1,)), GraphError, "sqrt: refers to node 1; a node may refer only to nodes before it"),
        (Operation("sqrt", (7,)), GraphError, "sqrt: refers to node 7"),
        (Operation("sqrt", (-1,)), GraphError, "sqrt: refers to node -1"),
        (Operation("sum", (0,), {"where": NodeRef(1)}), GraphError, "sum: refers to node 1"),
        (Operation("sum", (0,), {"where": True}), ParameterError, "sum: where must refer to a node, not be True"),
        (
            Operation("sum", (0,), {"axis": NodeRef(0)}),
            ParameterError,
            "sum: axis must be a plain value, not the value of node 0",
        ),
        (Operation("sum", (0,), {"axis": 2}), AxisError, "sum: axis 2 is out of bounds for array of dimension 2"),
        (Operation("frobnicate", (0,)), UnknownOperationError, "there is no operation 'frobnicate'"),
        (Operation("add", (0,) * 17), GraphError, "add: 17 arguments"),
        (Operation("invert", (0,)), DTypeError, "invert: not defined for float64"),
        (Input((2, -3), FLOAT), ShapeError, "input: shape .* negative"),
        (Input((2,) * 40, FLOAT), ShapeError, "input: an array of 40 dimensions"),
        (Input((2**64 - 1, 0), FLOAT), ShapeError, "input: shape .* too big"),
        (Input((2**61,), FLOAT), ShapeError, "input: shape .* too big"),
        (Input((2, 3), FLOAT, order=(0, 0)), ShapeError, r"input: order \(0, 0\) is not a permutation of the 2 axes"),
        (Input((2, 3), FLOAT, order=(0,)), ShapeError, "input: order .* is not a permutation"),
        (Input((2, 3), FLOAT, order=(1, 2)), ShapeError, "input: order .* is not a permutation"),
        (
            Input((2, 3), FLOAT, inline=bytes(47)),
            ShapeError,
            r"input: shape \(2, 3\) of float64 needs 48 bytes, 47 were sent",
        ),
        (Input((), FLOAT, inline=bytes(9)), ShapeError, r"input: shape \(\) of float64 needs 8 bytes, 9 were sent"),
        (Input((2,), np.dtype("U4")), DTypeError, "input: dtype <U4 is not supported"),
        (Constant(np.str_("x")), DTypeError, "constant: dtype <U1 is not supported"),
        (Constant("x"), DTypeError, "constant: 'x' is neither a Python number nor a NumPy scalar"),  # type: ignore[arg-type]
        (Resident("gone"), ArrayNotFoundError, "resident: no array gone"),
    ],
)
def test_refusals_name_the_node(node: Node, error: type[ArraymillError], words: str) -> None:
    with pytest.raises(error, match=f"^node 1, {words}") as caught:
        infer_graph(Graph((X, node), (0,)), nothing)
    assert caught.value.details["node"] == "1"


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (Graph((), ()), "a graph without outputs"),
        (Graph((X,), ()), "a graph without outputs"),
        (Graph((X,), (0, 1)), "output 1 refers to node 1 of a graph of 1 nodes"),
        (Graph((X,), (-1,)), "output 0 refers to node -1"),
        (Graph((X,) * (MAX_NODES + 1), (0,)), f"{MAX_NODES + 1} nodes: at most {MAX_NODES}"),
        (Graph((X,), (0,) * (MAX_NODES + 1)), f"{MAX_NODES + 1} outputs: at most {MAX_NODES}"),
    ],
)
def test_refuses_malformed_graphs(graph: Graph, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        infer_graph(graph, nothing)


def test_a_constant_that_is_no_array_of_its_own_cannot_be_an_output() -> None:
    graph = Graph((Constant(2**70), X, Operation("multiply", (1, 0))), (2, 0))
    with pytest.raises(DTypeError, match=r"^output 1, node 0: dtype object is not supported"):
        infer_graph(graph, nothing)


def test_a_weak_integer_that_does_not_fit_is_an_overflow() -> None:
    graph = Graph((Input((2,), np.dtype("i1")), Constant(300), Operation("add", (0, 1))), (2,))
    with pytest.raises(
        IntegerOverflowError, match=r"^node 2, add: Python integer 300 out of bounds for int8"
    ) as caught:
        infer_graph(graph, nothing)
    assert isinstance(caught.value, OverflowError)


def test_inline_bytes_of_any_buffer_are_counted() -> None:
    array = np.zeros((2, 3))
    assert input_type(Input(array.shape, array.dtype, inline=array.data)) == ArrayType((2, 3), FLOAT)
    assert input_type(Input((0, 3), FLOAT, inline=b"")) == ArrayType((0, 3), FLOAT)


@given(st.data())
def test_slices_are_numpys(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    pieces = [data.draw(slices(length)) for length in shape[: data.draw(st.integers(0, len(shape)))]]
    index: list[Any] = []
    for piece in pieces:
        stop = piece.start + piece.length * piece.step
        index.append(piece.start if piece.drop else slice(piece.start, stop if stop >= 0 else None, piece.step))
    expected = np.zeros(shape)[tuple(index)].shape
    assert sliced_type(ArrayType(shape, FLOAT), pieces) == ArrayType(expected, FLOAT)


@pytest.mark.parametrize(
    "piece",
    [
        Slice(0, 0, 1),
        Slice(0, 1, 7),
        Slice(5, 1, 2),
        Slice(6, 1, 1),
        Slice(-1, 1, 1),
        Slice(3, -1, 5),
        Slice(0, 1, -1),
        Slice(0, 1, 2, drop=True),
        Slice(0, 1, 0, drop=True),
        Slice(6, 1, 1, drop=True),
        Slice(0, 2**62, 2**62),
    ],
)
def test_slices_stay_within_their_axis(piece: Slice) -> None:
    with pytest.raises(ShapeError, match="does not lie within axis 1 of length 6"):
        sliced_type(ArrayType((2, 6), FLOAT), [Slice(0, 1, 2), piece])


def test_there_are_no_more_slices_than_axes() -> None:
    with pytest.raises(ShapeError, match="2 slices of an array of 1 dimensions"):
        sliced_type(ArrayType((6,), FLOAT), [Slice(0, 1, 2)] * 2)
