"""Types of new arrays, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arraymill._new_array import MOST_BYTES, new_array, new_type
from arraymill_proto.errors import ArraymillError, DTypeError, ParameterError, ShapeError, TooLargeError
from arraymill_proto.graph import ArrayType


@pytest.mark.parametrize("shape", [3, (), (2, 0, 3), [4, 5], np.int64(3), np.array([2, 3]), range(3), (1,) * 64])
def test_shapes_are_those_of_numpy(shape: Any) -> None:
    made = new_array(new_type(shape, "f4"))
    assert made.shape == np.empty(shape, "f4").shape
    assert made.dtype == np.dtype("f4")


@pytest.mark.parametrize("dtype", [int, None, ">i2", "complex64", np.float16, np.dtype(bool)])
def test_dtypes_are_those_of_numpy_in_the_byte_order_of_the_machine(dtype: Any) -> None:
    assert new_type(3, dtype) == ArrayType((3,), np.dtype(dtype).newbyteorder("="))


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        (-1, ShapeError, "the shape -1 has a negative length"),
        ((3, -2), ShapeError, "the shape (3, -2) has a negative length"),
        ((1,) * 65, ShapeError, "65 dimensions, arrays have 64 at most"),
        (10**30, ShapeError, "larger than any address space"),
        ((2**62, 4), ShapeError, "shape (4611686018427387904, 4) and dtype float32 is larger than any address space"),
        ((2**62, 0, 4), ShapeError, "larger than any address space"),
        ("abc", ParameterError, "shape is 'abc', it must be a whole number or a sequence of them"),
        (1.5, ParameterError, "shape is 1.5"),
        (None, ParameterError, "shape is None"),
        ([2.0], ParameterError, "shape is [2.0]"),
        (((1, 2), 3), ParameterError, "shape is ((1, 2), 3)"),
        ("x" * 10_000, ParameterError, "shape is 'xxx"),
    ],
)
def test_what_is_no_shape(shape: Any, kind: type[ArraymillError], words: str) -> None:
    """The errors are of the kinds that NumPy raises."""
    with pytest.raises(kind) as caught:
        new_type(shape, "f4")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    with pytest.raises((TypeError, ValueError)) as known:
        np.empty(shape, "f4")
    assert isinstance(caught.value, known.type)


@pytest.mark.parametrize("dtype", ["zzz", "f4,f4", object, "M8[s]", [("a", int)], 5, "(", "x" * 10_000])
def test_what_is_no_dtype(dtype: Any) -> None:
    with pytest.raises(DTypeError) as caught:
        new_type(3, dtype)
    assert isinstance(caught.value, TypeError)
    assert len(str(caught.value)) < 400


def test_what_does_not_fit_the_memory() -> None:
    with pytest.raises(TooLargeError, match=r"no memory for 4 EiB, of an array of shape .* in pieces") as caught:
        new_array(new_type(MOST_BYTES // 2 + 1, "u1"))
    assert isinstance(caught.value, MemoryError)
