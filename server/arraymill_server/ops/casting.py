"""Which dtype a reduction computes in, and casts as NumPy makes them, without its warnings."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from arraymill_server.ops.spec import Scalar

Array: TypeAlias = npt.NDArray[Any]
DType: TypeAlias = np.dtype[Any]

_WIDE: Final[dict[str, str]] = {"e": "d", "f": "d", "F": "D"}
_LOOP: Final[dict[str, str]] = {"e": "d"}


def wide_dtype(dtype: DType) -> DType:
    """Return the dtype in which partials of `dtype` are kept: float64 for floats, complex128 for complex numbers."""
    return np.dtype(_WIDE.get(dtype.char, dtype))


def loop_dtype(dtype: DType) -> DType:
    """Return the dtype in which one piece of `dtype` is summed: its own, but float64 for float16.

    NumPy adds float16 faster in float64 (40 µs for 32,768) than in float32 or float16 (70 µs).
    """
    return np.dtype(_LOOP.get(dtype.char, dtype))


def cast_into(out: Array, values: Array | np.generic | complex) -> None:
    """Write `values`, broadcast and cast as by `astype`; of complex values a real `out` takes the real part."""
    source = np.asarray(values)
    if source.dtype.kind == "c" and out.dtype.kind not in "cb":
        source = np.real(source)
    np.copyto(out, source, casting="unsafe")


def cast_elements(values: Array, dtype: DType) -> Array:
    """Return `values` so that a loop in `loop_dtype(dtype)` sees them as elements of `dtype`."""
    if values.dtype == dtype:
        return values
    loses_imaginary = values.dtype.kind == "c" and dtype.kind not in "cb"
    rounds_first = dtype.char in _LOOP
    if not (loses_imaginary or rounds_first):
        return values
    elements = np.empty(values.shape, dtype)
    cast_into(elements, values)
    return elements


def scalar_as(scalar: Scalar, dtype: DType) -> Array:
    """Return a constant as a 0-d array of `dtype`, cast as by assignment to an element."""
    element = np.empty((), dtype)
    element[()] = scalar.value()
    return element
