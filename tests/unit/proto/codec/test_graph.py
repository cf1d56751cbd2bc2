"""Graphs survive the wire; what a peer can get wrong is refused with the number of the node."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import graphs, scalars

from arraymill_proto.codec import graph_from_pb, graph_to_pb
from arraymill_proto.dtypes import DType
from arraymill_proto.errors import ArraymillError, AxisError, DTypeError, GraphError, ParameterError, ShapeError
from arraymill_proto.graph import Constant, Graph, Input, Node, Operation, Weak
from arraymill_proto.limits import MAX_NODES
from arraymill_proto.v1 import arraymill_pb2 as pb


def travelled(graph: Graph) -> Graph:
    """Return a graph as the other side reads it."""
    return graph_from_pb(pb.Graph.FromString(graph_to_pb(graph).SerializeToString()))


def exactly(value: Any) -> Any:
    """Make values comparable to the bit and the type: NaN equals itself, 1 is not True."""
    if isinstance(value, int):
        return type(value), value
    if np.isscalar(value):
        return np.asarray(value).dtype, np.asarray(value).tobytes()
    return value


def comparable(node: Node) -> Any:
    if isinstance(node, Constant):
        return exactly(node.value)
    if isinstance(node, Input):
        return node, node.inline
    if isinstance(node, Operation):
        return node.name, node.args, {key: exactly(value) for key, value in node.params.items()}
    return node


@given(graphs())
def test_graphs_survive_the_wire(graph: Graph) -> None:
    again = travelled(graph)
    assert again.outputs == graph.outputs
    assert [*map(comparable, again.nodes)] == [*map(comparable, graph.nodes)]


@pytest.mark.parametrize("axis", [(), 0, (0,), (-1, 1)])
def test_an_axis_and_a_tuple_of_axes_differ(axis: int | tuple[int, ...]) -> None:
    (node,) = travelled(Graph((Operation("sum", (), {"axis": axis}),), (0,))).nodes
    assert isinstance(node, Operation)
    assert node.params == {"axis": axis}


@pytest.mark.parametrize(
    "value",
    [True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**209 - 1, 1 - 2**209, 0.0, -0.0, 1e308, 3 - 0.0j],
)
def test_python_scalars_stay_what_they_are(value: Weak) -> None:
    (node,) = travelled(Graph((Constant(value),), (0,))).nodes
    assert isinstance(node, Constant)
    assert type(node.value) is type(value)
    assert repr(node.value) == repr(value)


@given(st.data(), st.sampled_from(["?", "i1", "u8", "f2", "f8", "c8", ">f4", ">i2"]).map(np.dtype))
def test_numpy_scalars_keep_their_dtype(data: st.DataObject, dtype: DType) -> None:
    value = data.draw(scalars(dtype))
    (node,) = travelled(Graph((Constant(value),), (0,))).nodes
    assert isinstance(node, Constant)
    assert isinstance(node.value, np.generic)
    assert node.value.dtype == dtype.newbyteorder("=")
    assert np.array_equal(node.value, value, equal_nan=dtype.kind in "fc")


def test_fingerprints_travel() -> None:
    nodes = (Input((2,), np.dtype("f8"), fingerprint=2**64 - 1), Input((2,), np.dtype("f8")))
    there, absent = travelled(Graph(nodes, (0, 1))).nodes
    assert isinstance(there, Input)
    assert isinstance(absent, Input)
    assert (there.fingerprint, absent.fingerprint) == (2**64 - 1, 0)


def test_memoryviews_travel_as_bytes() -> None:
    array = np.arange(3.0)
    (node,) = travelled(Graph((Input((3,), array.dtype, inline=array.data),), (0,))).nodes
    assert isinstance(node, Input)
    assert node.inline == array.tobytes()


@pytest.mark.parametrize(
    ("node", "error", "words"),
    [
        (Operation("round", (0,), {"decimals": 2**63}), ParameterError, "decimals does not fit 64 bits"),
        (Operation("sum", (0,), {"axis": (1, 2**31)}), AxisError, "axis 0x80000000 is out of bounds"),
        (Constant(2**209), OverflowError, "a Python integer of 210 bits: at most 209"),
        (Constant(np.longdouble(1)), DTypeError, "dtype .* is not supported"),
        (Input((1,), np.dtype("M8[s]")), DTypeError, "is not supported"),
    ],
)
def test_what_cannot_travel_is_refused(node: Node, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^node 1, .*{words}") as caught:
        graph_to_pb(Graph((Constant(1), node), (0,)))
    assert isinstance(caught.value, ArraymillError)
    assert caught.value.details["node"] == "1"


def message(**node: Any) -> pb.Graph:
    return pb.Graph(nodes=[pb.Node(constant=pb.Constant(python_int=1)), pb.Node(**node)], outputs=[0])


def operation(**param: Any) -> pb.Graph:
    return message(operation=pb.Operation(name="sum", args=[0], params={"axis": pb.Param(**param)}))


@pytest.mark.parametrize(
    ("graph", "error", "words"),
    [
        (message(), GraphError, "its kind is missing or newer"),
        (message(constant=pb.Constant()), GraphError, "the value of a constant is missing or of a kind newer"),
        (message(constant=pb.Constant(python_big_int="1_0")), GraphError, "python_big_int '1_0' is no decimal integer"),
        (message(constant=pb.Constant(python_big_int="9" * 65)), GraphError, "is no decimal integer of at most 64"),
        (message(constant=pb.Constant(python_big_int="٣")), GraphError, "is no decimal integer"),
        (message(constant=pb.Constant(python_big_int="1\n")), GraphError, "is no decimal integer"),
        (
            message(constant=pb.Constant(scalar=pb.Scalar(dtype=pb.INT32, data=b"abc"))),
            GraphError,
            "a scalar of int32 has 4 bytes, 3 were sent",
        ),
        (message(constant=pb.Constant(scalar=pb.Scalar(data=b""))), DTypeError, "dtype code 0 is unknown"),
        (message(input=pb.Input()), DTypeError, "dtype code 0 is unknown"),
        (message(input=pb.Input(dtype=99)), DTypeError, "dtype code 99 is unknown"),  # type: ignore[arg-type]
        (message(input=pb.Input(dtype=pb.BOOL, byte_order=2)), DTypeError, "byte order 2 is unknown"),  # type: ignore[arg-type]
        (message(input=pb.Input(dtype=pb.BOOL, shape=[1] * 33)), ShapeError, "33 dimensions: at most 32"),
        (message(input=pb.Input(dtype=pb.BOOL, order=[0] * 33)), ShapeError, "33 axes in order: at most 32"),
        (message(resident=pb.Resident(id="x", slices=[pb.Slice()] * 33)), ShapeError, "33 slices: at most 32"),
        (operation(), ParameterError, "the value of axis is missing or of a kind newer"),
        (operation(dtype=15), DTypeError, "dtype code 15 is unknown"),
        (operation(axes=pb.Axes(axis=[0] * 33)), AxisError, "33 axes are given: an array has at most 32"),
        (message(operation=pb.Operation(name="x" * 10**6, args=[0] * 17)), GraphError, "17 arguments and 0 parameters"),
        (
            message(operation=pb.Operation(name="sum", params={str(number): pb.Param() for number in range(17)})),
            GraphError,
            "17 parameters: at most 16",
        ),
    ],
)
def test_what_a_peer_can_get_wrong_is_refused(graph: pb.Graph, error: type[ArraymillError], words: str) -> None:
    with pytest.raises(error, match=f"^node 1, .*{words}") as caught:
        graph_from_pb(pb.Graph.FromString(graph.SerializeToString()))
    assert caught.value.details["node"] == "1"
    assert len(str(caught.value)) < 400


def test_endless_graphs_are_refused_before_they_are_unfolded() -> None:
    with pytest.raises(GraphError, match=f"{MAX_NODES + 1} nodes: at most {MAX_NODES}"):
        graph_from_pb(pb.Graph(nodes=[pb.Node()] * (MAX_NODES + 1)))
    with pytest.raises(GraphError, match=f"{MAX_NODES + 1} outputs: at most {MAX_NODES}"):
        graph_from_pb(pb.Graph(outputs=[0] * (MAX_NODES + 1)))
