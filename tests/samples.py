"""Arrays whose shape, dtype and layout hypothesis chooses, and whose elements a generator picks from a pool.

Faster than letting hypothesis choose every element, and every array has many different ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from hypothesis import strategies as st
from strategies import Array, dtypes, layouts, shapes

from arraymill_proto.dtypes import DType
from arraymill_proto.graph import Order, Shape

Pool: TypeAlias = Callable[[DType], Array]
"""The elements that an array of some native dtype may have."""


def anything(dtype: DType) -> Array:
    """Small and extreme elements, zeros of both signs, infinities and NaN."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.str)
        return np.array([0, 1, 2, 3, 5, 7, 100, limits.max, limits.max - 1, limits.min, limits.min + 1], dtype)
    if dtype.kind == "c":
        parts = anything(np.dtype(f"f{dtype.itemsize // 2}"))
        return np.array([complex(a, b) for a in parts for b in parts[:6]], dtype)
    return np.array([0.0, -0.0, 1, -1, 0.5, 2, -2.5, 3.75, 1e-3, 300, np.nan, np.inf, -np.inf], dtype)


def finite(dtype: DType) -> Array:
    """Small elements of both signs; most floats are no integers."""
    if dtype.kind in "biu":
        return anything(dtype)
    if dtype.kind == "c":
        parts = finite(np.dtype(f"f{dtype.itemsize // 2}"))
        return np.array([complex(a, b) for a in parts for b in parts], dtype)
    return np.array([0.0, -0.0, 1, -1, 0.5, 2, -2.5, 3.75, 0.1, -0.3, 7.7], dtype)


def integers(dtype: DType) -> Array:
    """Small integers of both signs, if the dtype has them: sums and products of a few are exact in every dtype."""
    if dtype.kind == "b":
        return anything(dtype)
    return np.array([0, 1, 2, 3] if dtype.kind == "u" else [0, 1, 2, 3, -1, -2], dtype)


def fractions(dtype: DType) -> Array:
    """Short fractions from 0 to 4: a cast to whatever dtype is defined, and no sum overflows."""
    return _upwards(np.arange(16) / 4, dtype)


def factors(dtype: DType) -> Array:
    """Numbers around 1, complex ones of magnitudes around 1, whose products stay near 1."""
    steps = 1 + np.arange(-8, 8) / 64
    return _upwards(steps / np.sqrt(2) if dtype.kind == "c" else steps, dtype)


def _upwards(steps: Array, dtype: DType) -> Array:
    return np.asarray(steps + 1j * steps[::-1] if dtype.kind == "c" else steps).astype(dtype)


def sample(pool: Pool, dtype: DType, shape: Shape, seed: int) -> Array:
    """Pick elements from a pool."""
    elements = pool(dtype.newbyteorder("="))
    return np.random.default_rng(seed).choice(elements, shape).astype(dtype)


@st.composite
def samples(
    draw: st.DrawFn,
    pool: Pool = anything,
    *,
    dtype: st.SearchStrategy[DType] | None = None,
    shape: st.SearchStrategy[Shape] | Shape | None = None,
) -> Array:
    """Arrays of every dtype, byte order and layout; 0-d and empty ones among them."""
    lengths = draw(shape if isinstance(shape, st.SearchStrategy) else st.just(shape)) if shape is not None else None
    if lengths is None:
        lengths = draw(_SHAPES)
    chosen = draw(_DTYPES if dtype is None else dtype)
    return draw(layouts(sample(pool, chosen, lengths, draw(st.integers(0, 999)))))


@st.composite
def orders(draw: st.DrawFn, ndim: int) -> Order | None:
    """Orders of axes that a client may declare for an array."""
    return draw(st.none() | st.permutations(range(ndim)).map(tuple))


def broadcastable(shape: Shape) -> st.SearchStrategy[Shape]:
    """Shapes that broadcast to a shape: some of its trailing axes, some of them of length 1."""
    cuts = st.integers(0, len(shape))
    kept = st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))
    return st.tuples(cuts, kept).map(
        lambda choice: tuple(
            length if keep else 1 for length, keep in list(zip(shape, choice[1], strict=True))[choice[0] :]
        )
    )


@st.composite
def shape_pairs(draw: st.DrawFn) -> tuple[Shape, Shape]:
    """Two shapes that broadcast against each other: axes of length 1 and missing ones on either side, or on both."""
    whole = draw(_SHAPES)
    return draw(broadcastable(whole)), draw(broadcastable(whole) | st.just(whole))


_SHAPES: Final = shapes(max_side=5, max_dims=4) | st.lists(st.integers(1, 4), min_size=2, max_size=3).map(tuple)
_DTYPES: Final[st.SearchStrategy[np.dtype[Any]]] = dtypes()
