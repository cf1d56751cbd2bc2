"""The values of a graph."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from strategies import Array, arrays

from arraymill_proto.graph import ArrayType, Constant, Graph, Input, NodeRef, Operation


@given(arrays())
def test_sizes_are_numpys(array: Array) -> None:
    array_type = ArrayType(array.shape, array.dtype)
    assert (array_type.ndim, array_type.size, array_type.nbytes) == (array.ndim, array.size, array.nbytes)


def test_operands_are_arguments_then_referred_parameters() -> None:
    operation = Operation("sum", (4, 2), {"axis": 1, "where": NodeRef(7), "initial": NodeRef(0)})
    assert operation.operands() == (4, 2, 7, 0)
    assert Operation("sqrt", (1,)).operands() == (1,)


def test_inputs_are_numbered_in_the_order_of_their_nodes() -> None:
    x = Input((3,), np.dtype(float))
    graph = Graph((Constant(1), x, Operation("add", (0, 1)), x), (2,))
    assert graph.inputs() == (1, 3)


def test_inline_bytes_do_not_count_for_equality() -> None:
    assert Input((1,), np.dtype(bool), inline=b"\0") == Input((1,), np.dtype(bool))
