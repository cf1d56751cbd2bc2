"""Hypothesis strategies shared by all tests: dtypes, shapes, axes, and arrays in every layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arraymill_proto.dtypes import SUPPORTED, DType
from arraymill_proto.graph import Shape

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def dtypes(kinds: str = "biufc", *, foreign: bool = True) -> st.SearchStrategy[DType]:
    """Supported dtypes of these kinds; with `foreign`, of either byte order."""
    chosen = [dtype for dtype in SUPPORTED if dtype.kind in kinds]
    if foreign:
        chosen += [dtype.newbyteorder() for dtype in chosen if dtype.itemsize > 1]
    return st.sampled_from(chosen)


def shapes(*, max_dims: int = 4, max_side: int = 6, min_side: int = 0) -> st.SearchStrategy[Shape]:
    """Shapes from 0-d upwards, empty ones among them unless `min_side` is positive."""
    return st.lists(st.integers(min_side, max_side), max_size=max_dims).map(tuple)


def axes(ndim: int, *, tuples: bool = True) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """Valid values of `axis` for an array of `ndim` dimensions: None, integers, and tuples of them, of either sign."""
    if ndim == 0:
        return st.sampled_from([None, ()] if tuples else [None])
    choices: list[st.SearchStrategy[int | tuple[int, ...] | None]] = [st.none(), st.integers(-ndim, ndim - 1)]
    if tuples:
        unique = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim)
        choices.append(
            unique.flatmap(
                lambda chosen: st.tuples(*(st.sampled_from([axis, axis - ndim]) for axis in chosen)),
            )
        )
    return st.one_of(choices)


def elements(dtype: DType, *, finite: bool = False) -> st.SearchStrategy[Any]:
    """Scalars of a native dtype: small ones and extremes; NaN and infinities unless `finite`."""
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
        return st.integers(max(-9, low), 9) | st.integers(low, high)
    if dtype.kind in "fc":
        return hnp.from_dtype(dtype, allow_nan=not finite, allow_infinity=not finite) | st.integers(-9, 9)
    return st.booleans()


def scalars(dtype: DType, *, finite: bool = False) -> st.SearchStrategy[np.generic]:
    """NumPy scalars of a dtype."""
    return elements(dtype, finite=finite).map(lambda value: np.array([value]).astype(dtype)[0])


def python_scalars() -> st.SearchStrategy[bool | int | float | complex]:
    """Weak scalars, integers beyond 64 bits among them."""
    return st.one_of(
        st.booleans(),
        st.integers(-9, 9),
        st.integers(-(2**200), 2**200),
        st.floats(),
        st.complex_numbers(),
    )


@st.composite
def arrays(
    draw: st.DrawFn,
    *,
    dtype: st.SearchStrategy[DType] | DType | None = None,
    shape: st.SearchStrategy[Shape] | Shape | None = None,
    finite: bool = False,
) -> Array:
    """Arrays of every supported dtype, byte order and memory layout; 0-d and empty ones among them."""
    chosen = draw(dtypes() if dtype is None else dtype if isinstance(dtype, st.SearchStrategy) else st.just(dtype))
    lengths = draw(shapes() if shape is None else shape if isinstance(shape, st.SearchStrategy) else st.just(shape))
    native = chosen.newbyteorder("=")
    values = draw(hnp.arrays(native, lengths, elements=elements(native, finite=finite)))
    return draw(layouts(values.astype(chosen)))


def layouts(values: Array) -> st.SearchStrategy[Array]:
    """The same elements laid out in memory as C, Fortran, transposed, strided, reversed, unaligned or read-only."""
    if values.ndim == 0:
        return st.just(values)
    return st.sampled_from(_LAYOUTS).map(lambda lay_out: lay_out(values))


def _transposed(values: Array) -> Array:
    """Make the slowest axis the second fastest: neither C nor Fortran order."""
    order = [*range(1, values.ndim), *range(min(values.ndim, 1))]
    return np.array(values.transpose(order), order="C").transpose(np.argsort(order))


def _strided(values: Array) -> Array:
    """Take every second element of an array that is larger in every direction."""
    whole = np.zeros([2 * length + 1 for length in values.shape], values.dtype)
    view = whole[tuple(slice(1, 2 * length + 1, 2) for length in values.shape)]
    view[...] = values
    return view


def _reversed(values: Array) -> Array:
    backwards = (slice(None, None, -1),) * values.ndim
    return np.array(values[backwards], order="C")[backwards]


def _unaligned(values: Array) -> Array:
    return np.frombuffer(b"\0" + values.tobytes(), values.dtype, offset=1).reshape(values.shape)


_LAYOUTS: list[Callable[[Array], Array]] = [
    np.array,
    lambda values: np.array(values, order="F"),
    _transposed,
    _strided,
    _reversed,
    _unaligned,
]
