"""Operands become terms, and nodes know their types."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from arraymill import Array, asarray
from arraymill._expression import (
    Applied,
    Local,
    Stored,
    apply,
    apply_parts,
    count_nodes,
    describe,
    expression_of,
    is_operand,
    known,
    local,
    to_term,
)
from arraymill_proto.errors import DTypeError, ParameterError, UnknownOperationError
from arraymill_proto.graph import ArrayType

X = np.arange(6.0).reshape(2, 3)


class Colour(IntEnum):
    RED = 3


class Real(float):
    pass


@pytest.mark.parametrize(
    ("given", "term"),
    [
        (True, True),
        (3, 3),
        (1 << 100, 1 << 100),
        (0.5, 0.5),
        (1 + 2j, 1 + 2j),
        (Colour.RED, 3),
        (Real(0.5), 0.5),
        (np.float32(0.5), np.float32(0.5)),
        (np.bool_(True), np.bool_(True)),
        (np.array(7, "i2"), np.int16(7)),
        (np.array(7, ">i2"), np.int16(7)),
    ],
)
def test_scalars(given: Any, term: Any) -> None:
    made = to_term(given)
    assert (type(made), made) == (type(term), term)
    assert known(made) is made
    assert is_operand(given)


def test_arrays_are_leaves() -> None:
    term = to_term(X)
    assert isinstance(term, Local)
    assert term.data.base is X.base
    assert np.shares_memory(term.data, X)
    assert known(term) == ArrayType((2, 3), X.dtype)
    assert to_term(term) is term
    lazy = asarray(X)
    assert to_term(lazy) is expression_of(lazy)
    assert known(to_term([[1, 2]])) == ArrayType((1, 2), np.dtype(int))


@pytest.mark.parametrize("stranger", ["text", None, Decimal(1), Fraction(1, 2), object(), {1}])
def test_what_is_no_operand(stranger: Any) -> None:
    assert not is_operand(stranger)
    with pytest.raises(TypeError, match=f"{type(stranger).__name__} is no operand: give an Array"):
        to_term(stranger)


def test_scalars_of_dtypes_that_no_server_has() -> None:
    for scalar in (np.datetime64(1, "s"), np.str_("a"), np.void(b"a")):
        with pytest.raises(DTypeError):
            to_term(scalar)


def test_a_node_keeps_what_the_server_needs_and_nothing_else() -> None:
    node = apply("sum", (X,), {"axis": (np.int8(0), 1), "dtype": ">f4", "keepdims": np.True_, "where": True})
    assert node.params == {"axis": (0, 1), "dtype": np.dtype("f4"), "keepdims": True}
    assert [type(axis) for axis in node.params["axis"]] == [int, int]
    assert type(node.params["keepdims"]) is bool
    assert node.type == ArrayType((1, 1), np.dtype("f4"))
    assert list(node.operands()) == list(node.args)


def test_array_valued_parameters_are_operands() -> None:
    mask = X > 1
    node = apply("sum", (X,), {"where": mask, "initial": 5, "axis": None})
    assert isinstance(node.params["where"], Local)
    assert node.params["initial"] == 5
    assert "axis" not in node.params
    assert len(list(node.operands())) == 3
    assert apply("min", (X,), {"where": False, "initial": 0}).params["where"] is False


def test_operations_of_two_results() -> None:
    parts = apply_parts("divmod", (X, 2), {})
    assert [part.params for part in parts] == [{"part": 0}, {"part": 1}]
    assert parts[0].args[0] is parts[1].args[0]
    assert len(apply_parts("divmod", (X, 2), {"part": 1})) == 1
    assert len(apply_parts("add", (X, 2), {})) == 1


def test_mistakes_name_the_operation() -> None:
    with pytest.raises(UnknownOperationError, match="there is no operation 'summ': did you mean sum"):
        apply("summ", (X,), {})
    with pytest.raises(ParameterError, match="add: takes 2 arguments, 1 given"):
        apply("add", (X,), {})
    with pytest.raises(ParameterError, match="sum: no parameter 'axes': the parameters are axis, dtype"):
        apply("sum", (X,), {"axes": 1})
    with pytest.raises(UnknownOperationError):
        apply_parts("summ", (X,), {})


def test_nodes_are_counted_once() -> None:
    lazy: Array = asarray(X)
    square = lazy * lazy
    assert count_nodes(expression_of(square + square)) == (2, 1)
    assert count_nodes(expression_of(lazy)) == (0, 1)
    assert count_nodes(expression_of((square + X.copy()).sum(where=X > 1))) == (3, 3)


def test_descriptions() -> None:
    stored = Stored(ArrayType((2,), X.dtype), "a1b2", (4,))
    assert describe(stored) == "of a1b2"
    assert describe(local(X)) == "local"
    assert describe(apply("add", (X, stored.type.shape[0]), {})) == "add | 1 operation on 1 array"


def test_nodes_are_compared_by_identity_and_printed_without_recursion() -> None:
    node = apply("add", (X, 1), {})
    for _ in range(5000):
        node = apply("add", (node, 1), {})
    assert node != apply("add", (node, 1), {})
    assert repr(node) == "<Applied add | 5001 operations on 1 array>"
    assert isinstance(node, Applied)
