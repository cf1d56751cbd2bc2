"""Positions of extremes: argmin and argmax.

The partial is (value, index). Earlier elements stand to the left of a merge, so the left one wins a tie: the first
occurrence, as NumPy. The first NaN wins over every number. The index counts along the reduced axis of the whole domain;
when all axes are reduced, in C order of `spec.flat`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from arraymill_proto.errors import ShapeError
from arraymill_server.ops.casting import Array, DType, cast_into
from arraymill_server.ops.spec import ReduceSpec

_INDEX: Final[DType] = np.dtype(np.int64)

Parts = tuple[Array, ...]


def components(spec: ReduceSpec) -> tuple[DType, ...]:
    return np.dtype(spec.source), _INDEX


def no_identity(spec: ReduceSpec, out: Parts) -> None:
    """Refuse to fill partials of no elements, where there is a cell to fill."""
    if out[0].size:
        raise ShapeError(f"{spec.op} of no elements: there is no identity", operation=spec.op)


def _flat_index(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    flat = 0
    for position, length in zip(index, shape, strict=True):
        flat = flat * length + position
    return flat


def make_step(
    search: Callable[..., Any],
) -> Callable[[ReduceSpec, Array, Array | None, tuple[int, ...], Parts], None]:
    """Make the step of argmin (`search` is np.argmin) or argmax."""

    def step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
        value, index = out
        if len(spec.axes) == 1 and not spec.flat:
            axis = spec.axes[0]
            local = search(x, axis=axis, keepdims=True)
            value[...] = np.take_along_axis(x, local, axis)
            np.add(local, start[axis], out=index)
            return
        found = np.unravel_index(int(search(x)), x.shape) if x.ndim else ()
        value[...] = x[found]
        index[...] = _flat_index(tuple(s + int(i) for s, i in zip(start, found, strict=True)), spec.flat)

    return step


def make_merge(better: np.ufunc) -> Callable[[ReduceSpec, Parts, Parts, Parts], None]:
    """Make the merge of argmin (`better` is np.less) or argmax (np.greater)."""

    def merge(spec: ReduceSpec, left: Parts, right: Parts, out: Parts) -> None:
        take = better(right[0], left[0])
        if left[0].dtype.kind in "fc":
            take |= np.isnan(right[0]) & ~np.isnan(left[0])
        for part, ours, theirs in zip(out, left, right, strict=True):
            np.copyto(part, np.where(take, theirs, ours))

    return merge


def finish(spec: ReduceSpec, parts: Parts, count: int, out: Array) -> None:
    cast_into(out, parts[1])
