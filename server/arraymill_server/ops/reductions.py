"""Reductions as values: what happens to a piece, to two partials, and to the last one.

A partial is a tuple of arrays, one per component, in the domain's dimensions with reduced axes of length 1. Rules:

1. `step` makes the partial of one piece; `merge` joins partials whose left one stands for earlier elements; `finish`
   turns the last partial into the result; `identity` is the partial of no elements.
2. Pieces are summed in their own precision (NumPy's pairwise sum; float16 in float64). Between pieces and blocks floats
   live in float64 and complex numbers in complex128, so the error does not grow with the number of blocks.
   Integers wrap in the dtype of the result.
3. An explicit dtype= casts elements before they are reduced, as NumPy does.
4. `initial` enters min and max wherever it comes by, and sum and prod once, in `finish`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from arraymill_server.ops import extremes, moments
from arraymill_server.ops.casting import Array, DType, cast_elements, cast_into, loop_dtype, scalar_as, wide_dtype
from arraymill_server.ops.spec import ReduceSpec

Parts: TypeAlias = tuple[Array, ...]
Step: TypeAlias = Callable[[ReduceSpec, Array, Array | None, tuple[int, ...], Parts], None]
Merge: TypeAlias = Callable[[ReduceSpec, Parts, Parts, Parts], None]
Finish: TypeAlias = Callable[[ReduceSpec, Parts, int, Array], None]


@dataclass(frozen=True, slots=True)
class Reduction:
    """One reduction."""

    name: str
    components: Callable[[ReduceSpec], tuple[DType, ...]]
    """(spec) → dtypes of the parts of a partial."""
    step: Step
    """(spec, x, where, start, out): partial of one piece; `start` is the index of its first element in the domain."""
    merge: Merge
    """(spec, left, right, out): `out` may be `left`."""
    finish: Finish
    """(spec, parts, count, out): the result, of the parts' shape; `count` elements were reduced into each cell."""
    identity: Callable[[ReduceSpec, Parts], None]
    """(spec, out): partial of no elements; raises ShapeError where there is none."""
    in_pieces: Callable[[ReduceSpec], bool]
    """(spec): does a step make temporaries of a piece's size, read it twice, or add in less than the partial's
    precision? If not, a whole block may be one piece."""


_COUNT: Final[DType] = np.dtype(np.int64)
_BOOL: Final[DType] = np.dtype(np.bool_)


def _mask(where: Array | None) -> Array | bool:
    return True if where is None else where


def _accumulate(ufunc: np.ufunc, axes: tuple[int, ...], x: Array, where: Array | None, dtype: DType) -> Array:
    """Reduce elements cast to `dtype` in the precision of one piece."""
    elements = cast_elements(x, dtype)
    total: Array = ufunc.reduce(elements, axis=axes, dtype=loop_dtype(dtype), keepdims=True, where=_mask(where))
    return total


def _merge_by(*ufuncs: np.ufunc) -> Merge:
    """Make the merge that applies one ufunc to each component."""

    def merge(spec: ReduceSpec, left: Parts, right: Parts, out: Parts) -> None:
        for ufunc, ours, theirs, part in zip(ufuncs, left, right, out, strict=False):
            ufunc(ours, theirs, out=part)

    return merge


def _always(spec: ReduceSpec) -> bool:
    return True


def _never(spec: ReduceSpec) -> bool:
    return False


def _identity_of(*values: float) -> Callable[[ReduceSpec, Parts], None]:
    """Make the identity that fills each component with one value."""

    def identity(spec: ReduceSpec, out: Parts) -> None:
        for value, part in zip(values, out, strict=False):
            part.fill(value)

    return identity


def _finish_first(spec: ReduceSpec, parts: Parts, count: int, out: Array) -> None:
    cast_into(out, parts[0])


def _total(name: str, ufunc: np.ufunc, identity: float) -> Reduction:
    """Make sum or prod: one component, the total in the wide dtype of the result."""

    def components(spec: ReduceSpec) -> tuple[DType, ...]:
        return (wide_dtype(np.dtype(spec.result)),)

    def step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
        out[0][...] = _accumulate(ufunc, spec.axes, x, where, np.dtype(spec.result))

    def finish(spec: ReduceSpec, parts: Parts, count: int, out: Array) -> None:
        total: Array = parts[0]
        if spec.initial is not None:
            total = ufunc(scalar_as(spec.initial, np.dtype(spec.result)), total)
        cast_into(out, total)

    def in_pieces(spec: ReduceSpec) -> bool:
        return components(spec)[0] != np.dtype(spec.source)

    return Reduction(name, components, step, _merge_by(ufunc), finish, _identity_of(identity), in_pieces)


def _mean_dtype(spec: ReduceSpec) -> DType:
    """Return the dtype of the elements that a mean adds: dtype=, else float64 for integers, else the argument's."""
    if spec.dtype:
        return np.dtype(spec.dtype)
    source = np.dtype(spec.source)
    return np.dtype(np.float64) if source.kind in "biu" else source


def _mean_components(spec: ReduceSpec) -> tuple[DType, ...]:
    total = wide_dtype(_mean_dtype(spec))
    return (total, _COUNT) if spec.masked else (total,)


def _mean_step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
    out[0][...] = _accumulate(np.add, spec.axes, x, where, _mean_dtype(spec))
    if where is not None:
        np.add.reduce(where, axis=spec.axes, dtype=_COUNT, keepdims=True, out=out[1])


def _mean_finish(spec: ReduceSpec, parts: Parts, count: int, out: Array) -> None:
    cast_into(out, np.divide(parts[0], parts[1] if spec.masked else count))


def _mean_in_pieces(spec: ReduceSpec) -> bool:
    return _mean_components(spec)[0] != np.dtype(spec.source)


def _extreme(name: str, ufunc: np.ufunc) -> Reduction:
    """Make min or max: one component, the extreme so far."""

    def components(spec: ReduceSpec) -> tuple[DType, ...]:
        return (np.dtype(spec.source),)

    def step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
        if spec.initial is None:
            ufunc.reduce(x, axis=spec.axes, keepdims=True, out=out[0])
            return
        initial = scalar_as(spec.initial, x.dtype)[()]
        ufunc.reduce(x, axis=spec.axes, keepdims=True, initial=initial, where=_mask(where), out=out[0])

    def identity(spec: ReduceSpec, out: Parts) -> None:
        if spec.initial is None:
            extremes.no_identity(spec, out)
            return
        cast_into(out[0], scalar_as(spec.initial, out[0].dtype))

    return Reduction(name, components, step, _merge_by(ufunc), _finish_first, identity, _never)


def _ptp_components(spec: ReduceSpec) -> tuple[DType, ...]:
    return np.dtype(spec.source), np.dtype(spec.source)


def _ptp_step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
    np.minimum.reduce(x, axis=spec.axes, keepdims=True, out=out[0])
    np.maximum.reduce(x, axis=spec.axes, keepdims=True, out=out[1])


def _ptp_finish(spec: ReduceSpec, parts: Parts, count: int, out: Array) -> None:
    cast_into(out, np.subtract(parts[1], parts[0]))


def _truth(name: str, ufunc: np.ufunc, identity: bool) -> Reduction:
    """Make any or all: one component, the truth so far."""

    def components(spec: ReduceSpec) -> tuple[DType, ...]:
        return (_BOOL,)

    def step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
        ufunc.reduce(x, axis=spec.axes, keepdims=True, where=_mask(where), out=out[0])

    return Reduction(name, components, step, _merge_by(ufunc), _finish_first, _identity_of(identity), _never)


def _count_components(spec: ReduceSpec) -> tuple[DType, ...]:
    return (_COUNT,)


def _count_step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: Parts) -> None:
    if len(spec.axes) == x.ndim:
        out[0].fill(np.count_nonzero(x))
    else:
        np.add.reduce(x.astype(np.bool_, copy=False), axis=spec.axes, dtype=_COUNT, keepdims=True, out=out[0])


def _position(name: str, search: Callable[..., object], better: np.ufunc) -> Reduction:
    """Make argmin or argmax."""
    step, merge = extremes.make_step(search), extremes.make_merge(better)
    return Reduction(name, extremes.components, step, merge, extremes.finish, extremes.no_identity, _always)


def _spread(name: str, finish: Finish) -> Reduction:
    """Make var or std."""
    return Reduction(name, moments.components, moments.step, moments.merge, finish, moments.identity, _always)


_MEAN: Final = Reduction(
    "mean", _mean_components, _mean_step, _merge_by(np.add, np.add), _mean_finish, _identity_of(0, 0), _mean_in_pieces
)
_PTP: Final = Reduction(
    "ptp", _ptp_components, _ptp_step, _merge_by(np.minimum, np.maximum), _ptp_finish, extremes.no_identity, _always
)
_COUNT_NONZERO: Final = Reduction(
    "count_nonzero", _count_components, _count_step, _merge_by(np.add), _finish_first, _identity_of(0), _always
)
_ALL: Final = (
    _total("sum", np.add, 0),
    _total("prod", np.multiply, 1),
    _MEAN,
    _spread("var", moments.finish_var),
    _spread("std", moments.finish_std),
    _extreme("min", np.minimum),
    _extreme("max", np.maximum),
    _PTP,
    _position("argmin", np.argmin, np.less),
    _position("argmax", np.argmax, np.greater),
    _truth("any", np.logical_or, False),
    _truth("all", np.logical_and, True),
    _COUNT_NONZERO,
)

REDUCTIONS: Final[dict[str, Reduction]] = {reduction.name: reduction for reduction in _ALL}
"""Every reduction of the catalogue."""
