"""The type of an array that is to be made, from what a caller says."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Final, SupportsIndex, cast

import numpy as np
from numpy.typing import DTypeLike

from arraymill._quantities import bytes_text
from arraymill_proto.dtypes import native
from arraymill_proto.errors import DTypeError, ParameterError, ShapeError, TooLargeError
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import shorten

MAX_DIMENSIONS: Final = 64
"""Of NumPy's arrays."""

MOST_BYTES: Final = np.iinfo(np.intp).max
"""Of NumPy's arrays."""


def new_type(shape: int | Sequence[int], dtype: DTypeLike) -> ArrayType:
    """Return the type of a new array.

    Raises:
        ParameterError: The shape is none.
        ShapeError: There are no arrays of this shape.
        DTypeError: There are no arrays of this dtype here.
    """
    lengths, known = _lengths(shape), _dtype(dtype)
    if any(length < 0 for length in lengths):
        raise ShapeError(f"the shape {shorten(repr(shape))} has a negative length: they are 0 or more")
    if len(lengths) > MAX_DIMENSIONS:
        raise ShapeError(f"the shape has {len(lengths)} dimensions, arrays have {MAX_DIMENSIONS} at most")
    if prod(filter(None, lengths)) * known.itemsize > MOST_BYTES:
        raise ShapeError(
            f"an array of shape {shorten(repr(shape))} and dtype {known} is larger than any address space: "
            "compute it in pieces"
        )
    return ArrayType(lengths, known)


def new_array(type: ArrayType) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Return an ordinary array with any values.

    Raises:
        TooLargeError: This process cannot have so much memory.
    """
    try:
        return np.empty(type.shape, type.dtype)
    except MemoryError as exc:
        text = f"{bytes_text(type.nbytes)}, of an array of shape {type.shape}"
        raise TooLargeError(f"there is no memory for {text}: compute it in pieces, or map a file") from exc


def _lengths(shape: object) -> tuple[int, ...]:
    try:
        return (operator.index(cast("SupportsIndex", shape)),)
    except TypeError:
        pass
    try:
        if isinstance(shape, (str, bytes)):
            raise TypeError
        return tuple(map(operator.index, cast("Sequence[SupportsIndex]", shape)))
    except TypeError:
        told = shorten(repr(shape))
        raise ParameterError(
            f"shape is {told}, it must be a whole number or a sequence of them", parameter="shape"
        ) from None


def _dtype(dtype: DTypeLike) -> np.dtype[np.generic]:
    try:
        known = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError, OverflowError) as exc:
        raise DTypeError(
            f"{shorten(repr(dtype))} is no dtype: give one as np.float32 or 'float32'", dtype=shorten(repr(dtype))
        ) from exc
    return native(known)
