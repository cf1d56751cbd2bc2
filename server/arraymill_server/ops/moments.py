"""Variance and standard deviation: delicate numerics, by themselves.

The partial of a set of n elements is (n, mean, M2) with M2 = Σ|x - mean|². Within a piece it is computed in two passes.
Two sets merge by the formula of T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances" (1979)::

    δ = mean_b - mean_a     mean = mean_a + δ·n_b/n     M2 = M2_a + M2_b + |δ|²·n_a·n_b/n

Real elements are computed in float64 and complex ones in complex128, whatever dtype= says: it only names the result.

Where a mean is not finite, NumPy's answers are kept: an infinite element gives M2 = NaN (∞ - ∞) in its piece already
and NaN stays NaN; means that overflowed alike have M2 = ∞, and their δ counts as 0, for ∞ - ∞ would make it NaN; the
mean of sets whose δ is infinite is their means' sum. A set without elements (masked out) must not spoil the other, so δ
counts as 0 there too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from arraymill_server.ops.casting import Array, DType, cast_into
from arraymill_server.ops.spec import ReduceSpec

_COUNT: Final[DType] = np.dtype(np.int64)
_M2: Final[DType] = np.dtype(np.float64)


def _working_dtype(spec: ReduceSpec) -> DType:
    return np.dtype(np.complex128 if np.dtype(spec.source).kind == "c" else np.float64)


def _squares(values: Array) -> Array:
    """Return |values|²; may write into `values`."""
    if values.dtype.kind == "c":
        squares = np.asarray(np.square(np.real(values)))
        squares += np.square(np.imag(values))
        return squares
    return np.square(values, out=values)


def components(spec: ReduceSpec) -> tuple[DType, ...]:
    return _COUNT, _working_dtype(spec), _M2


def identity(spec: ReduceSpec, out: tuple[Array, ...]) -> None:
    for part in out:
        part.fill(0)


def step(spec: ReduceSpec, x: Array, where: Array | None, start: tuple[int, ...], out: tuple[Array, ...]) -> None:
    count, mean, m2 = out
    mask: Array | bool = True if where is None else where
    if where is None:
        count.fill(x.size // count.size if count.size else 0)
    else:
        np.add.reduce(where, axis=spec.axes, dtype=_COUNT, keepdims=True, out=count)
    np.add.reduce(x, axis=spec.axes, dtype=mean.dtype, keepdims=True, where=mask, out=mean)
    np.divide(mean, np.maximum(count, 1), out=mean)
    deviations = np.subtract(x, mean, out=np.empty(x.shape, mean.dtype))
    np.add.reduce(_squares(deviations), axis=spec.axes, keepdims=True, where=mask, out=m2)


def merge(spec: ReduceSpec, left: tuple[Array, ...], right: tuple[Array, ...], out: tuple[Array, ...]) -> None:
    (left_count, left_mean, left_m2), (right_count, right_mean, right_m2) = left, right
    count = left_count + right_count
    share = right_count / np.maximum(count, 1)
    delta = np.subtract(right_mean, left_mean, out=np.empty_like(left_mean))
    mean = left_mean + delta * share
    between = _squares(delta) * (left_count * share)
    if not np.isfinite(between).all():
        mean, between = _merge_beyond_finite(left, right, share)
    np.add(left_m2, right_m2, out=out[2])
    np.add(out[2], between, out=out[2])
    np.copyto(out[1], mean)
    np.copyto(out[0], count)


def _merge_beyond_finite(left: tuple[Array, ...], right: tuple[Array, ...], share: Array) -> tuple[Array, Array]:
    """Return the merged mean and |δ|²·n_a·n_b/n where some of them are not finite."""
    (left_count, left_mean, _), (right_count, right_mean, _) = left, right
    delta = np.subtract(right_mean, left_mean, out=np.empty_like(left_mean))
    delta[(left_mean == right_mean) | (left_count == 0) | (right_count == 0)] = 0
    mean = np.where(np.isfinite(delta), left_mean + delta * share, left_mean + right_mean)
    mean = np.where(left_count == 0, right_mean, mean)
    return mean, _squares(delta) * (left_count * share)


def _variance(spec: ReduceSpec, parts: tuple[Array, ...]) -> Array:
    """M2 / max(n - ddof, 0): NaN or infinity where nothing is left to divide by, as NumPy; complex if dtype= is."""
    count, _, m2 = parts
    total: Array = m2.astype(np.complex128) if np.dtype(spec.result).kind == "c" else m2
    variance: Array = total / np.maximum(count - spec.ddof, 0)
    return variance


def finish_var(spec: ReduceSpec, parts: tuple[Array, ...], count: int, out: Array) -> None:
    cast_into(out, _variance(spec, parts))


def finish_std(spec: ReduceSpec, parts: tuple[Array, ...], count: int, out: Array) -> None:
    cast_into(out, np.sqrt(_variance(spec, parts)))
