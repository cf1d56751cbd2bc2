"""The lazy Array: what it tells of itself, and that it costs nothing."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import Array as NumPyArray
from strategies import arrays, python_scalars
from unit.client.evaluate import value_of

from arraymill import Array, Handle, asarray
from arraymill._reductions import Reductions
from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.errors import (
    AxisError,
    DTypeError,
    IntegerOverflowError,
    ParameterError,
    ShapeError,
    UnknownOperationError,
)
from arraymill_proto.graph import ArrayType

X = np.arange(12.0).reshape(3, 4)


@given(arrays())
def test_an_array_tells_what_the_ndarray_would(array: NumPyArray) -> None:
    lazy = asarray(array)
    native = array.dtype.newbyteorder("=")
    assert (lazy.shape, lazy.ndim, lazy.size) == (array.shape, array.ndim, array.size)
    assert (lazy.dtype, lazy.itemsize, lazy.nbytes) == (native, array.itemsize, array.nbytes)
    if array.ndim:
        assert len(lazy) == len(array)
    else:
        with pytest.raises(TypeError, match="without dimensions"):
            len(lazy)
    (value,) = value_of(lazy)
    np.testing.assert_array_equal(value, array)


@given(python_scalars() | st.lists(st.integers(-9, 9)) | st.lists(st.lists(st.floats(), min_size=2, max_size=2)))
def test_numbers_and_nested_sequences_are_arrays_as_numpy_makes_them(data: Any) -> None:
    known = np.asarray(data)
    if known.dtype == object:
        with pytest.raises(DTypeError):
            asarray(data)
        return
    lazy = asarray(data)
    assert (lazy.shape, lazy.dtype) == (known.shape, known.dtype)


def test_an_array_is_returned_as_it_is() -> None:
    lazy = asarray(X)
    assert asarray(lazy) is lazy
    handle = Handle("kept", ArrayType((3,), X.dtype))
    assert asarray(handle) is handle


def test_an_ndarray_is_neither_copied_nor_read_before_it_is_computed() -> None:
    array = np.zeros(3)
    total = asarray(array).sum()
    array[...] = 5
    assert value_of(total) == [15]


def test_a_new_shape_of_the_ndarray_is_not_one_of_the_array() -> None:
    array = np.arange(6.0)
    lazy = asarray(array)
    array.resize((2, 3), refcheck=False)
    assert lazy.shape == (6,)
    assert value_of(lazy)[0].shape == (6,)


def test_scalars_and_arrays_without_dimensions_beside_an_array_are_read_at_once() -> None:
    scalar = np.array(2.0)
    product = asarray(X) * scalar
    scalar[...] = 100
    np.testing.assert_array_equal(value_of(product)[0], X * 2)


class Mine(np.ndarray[Any, np.dtype[Any]]):
    """A subclass whose own arithmetic must not be asked."""


def test_subclasses_of_ndarray_are_read_as_plain_arrays() -> None:
    (value,) = value_of(asarray(X.view(Mine))[0])
    assert type(value) is np.ndarray
    assert value.shape == (4,)


STRANGE: dict[str, Any] = {
    "objects": np.array([object()]),
    "nothing": None,
    "a dictionary": {"a": 1},
    "strings": np.array(["a"]),
    "bytes": b"abc",
    "structured": np.zeros(3, [("a", "f8")]),
    "dates": np.zeros(3, "M8[s]"),
    "long doubles": np.zeros(3, np.longdouble),
    "integers beyond 64 bits": [1 << 70],
    "masked": np.ma.masked_greater(X, 5),
}


@pytest.mark.parametrize("name", STRANGE)
def test_dtypes_that_no_server_has_are_refused(name: str) -> None:
    if name == "long doubles" and np.dtype(np.longdouble) == np.dtype(float):
        return
    with pytest.raises(DTypeError, match="supported"):
        asarray(STRANGE[name])
    with pytest.raises(TypeError):
        _ = asarray(X) + STRANGE[name]


def test_ragged_sequences_and_too_many_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        asarray([[1, 2], [3]])
    with pytest.raises(ShapeError, match="at most 32 are supported"):
        asarray(np.zeros((1,) * 33))


MISTAKES: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "axis out of range": (lambda a: a.sum(2), AxisError, "sum: axis 2 is out of bounds for array of dimension 2"),
    "axis repeated": (lambda a: a.sum((0, -2)), AxisError, "names axis 0 twice"),
    "axis of another type": (lambda a: a.sum("0"), ParameterError, "axis must be an integer or a tuple"),
    "tuple for one axis": (lambda a: a.argmin((0, 1)), ParameterError, "argmin: axis must be one integer or None"),
    "no common shape": (lambda a: a + np.zeros(5), ShapeError, r"shapes \(3, 4\) \(5,\)"),
    "no such loop": (lambda a: a & 1, DTypeError, "bitwise_and: not defined for float64, 1"),
    "an integer that does not fit": (lambda a: a.astype("i1") + 300, IntegerOverflowError, "300"),
    "an empty maximum": (lambda a: asarray(X[:0]).max(), ShapeError, "zero-size array .* give initial"),
    "a where that is no mask": (lambda a: a.sum(where=X), DTypeError, "where must be boolean, not float64"),
    "a where that does not broadcast": (lambda a: a.sum(where=[True] * 3), ShapeError, r"shapes \(3,\) \(3, 4\)"),
    "an initial that is an array": (lambda a: a.sum(initial=a), ParameterError, "initial must be a constant"),
    "keepdims of another type": (lambda a: a.sum(keepdims="yes"), ParameterError, "keepdims must be True or False"),
    "an unknown dtype": (lambda a: a.astype("U5"), DTypeError, "not supported"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_where_it_is_written(name: str) -> None:
    make, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        make(asarray(X))


def test_the_exceptions_are_those_a_numpy_user_catches() -> None:
    with pytest.raises(np.exceptions.AxisError):
        asarray(X).mean(axis=7)
    with pytest.raises(ValueError, match="broadcast"):
        _ = asarray(X) + np.zeros(3)
    with pytest.raises(OverflowError):
        _ = asarray(np.zeros(3, "u1")) + 256
    assert issubclass(UnknownOperationError, NotImplementedError)


def test_every_method_of_the_clients_is_one_of_the_array_with_the_same_parameters() -> None:
    names = [name for name, signature in OPERATIONS.items() if signature.kind is Kind.REDUCTION]
    for name in names:
        ours = list(inspect.signature(getattr(Array, name)).parameters.values())[1:]
        clients = list(inspect.signature(getattr(Reductions, name)).parameters.values())[2:]
        assert [str(one) for one in clients[: len(ours)]] == [str(one) for one in ours]
        assert [one.name for one in clients[len(ours) :]] == ["out", "timeout", "progress"]
        assert [one.name for one in ours] == sorted(OPERATIONS[name].params, key=[one.name for one in ours].index), name
        assert getattr(Array, name).__doc__ == getattr(Reductions, name).__doc__


def test_representations() -> None:
    lazy = asarray(X)
    assert repr(lazy) == "<Array (3, 4) float64 local>"
    assert repr(lazy.sum()) == "<Array () float64 sum | 1 operation on 1 array>"
    assert repr(lazy + lazy * 2) == "<Array (3, 4) float64 add | 2 operations on 1 array>"
    handle = Handle("a1b2", ArrayType((3, 4), X.dtype), "weights")
    assert repr(handle) == "<Handle 'weights' id=a1b2 (3, 4) float64>"
    assert repr(Handle("a1b2", ArrayType((), X.dtype))) == "<Handle id=a1b2 () float64>"
    assert repr(handle[1:]) == "<Array (2, 4) float64 of a1b2>"
    assert repr(handle - lazy) == "<Array (3, 4) float64 subtract | 1 operation on 2 arrays>"


def test_a_handle_mixes_with_expressions() -> None:
    handle = Handle("kept", ArrayType((3, 4), X.dtype))
    (value,) = value_of((handle - handle.mean()) / handle.std() + X[0], kept={"kept": X})
    np.testing.assert_array_equal(value, (X - X.mean()) / X.std() + X[0])
    assert (handle.id, handle.name) == ("kept", "")


def test_operations_with_two_results_give_two_arrays() -> None:
    quotient, remainder = divmod(asarray(X), 5)
    mantissa, exponent = np.frexp(asarray(X))
    assert [array.dtype for array in (quotient, remainder, mantissa, exponent)] == ["f8", "f8", "f8", "i4"]
    lazy: Any = asarray(X / 8)
    fraction, whole = np.modf(lazy)
    np.testing.assert_array_equal(value_of(fraction, whole), np.modf(X / 8))


def test_arrays_are_values() -> None:
    lazy: Any = asarray(X)
    assert copy.copy(lazy).shape == (3, 4)
    with pytest.raises(AttributeError):
        lazy.shape = (4, 3)
    with pytest.raises(AttributeError):
        lazy.other = 1
    with pytest.raises(TypeError):
        lazy[0] = 1
    before = lazy
    lazy += 1
    assert before is not lazy
    np.testing.assert_array_equal(value_of(before)[0], X)


def test_masks_may_be_anything_that_broadcasts() -> None:
    mask: NDArray[np.bool_] = X > 5
    expected = X.sum(axis=0, where=mask)
    for where in (mask, asarray(mask), asarray(X) > 5, mask.tolist()):
        (value,) = value_of(asarray(X).sum(axis=0, where=where))
        np.testing.assert_array_equal(value, expected)
    (value,) = value_of(asarray(X).sum(axis=0, where=[True, False, True, False]))
    np.testing.assert_array_equal(value, X.sum(axis=0, where=[True, False, True, False]))
