"""Elementwise kernels: one table from the names of the catalogue to functions that fill `out`.

A kernel takes arrays, NumPy scalars and Python scalars, which broadcast to the shape of `out`; Python scalars stay weak
(NEP 50). Most kernels are one ufunc; those may write into an argument's memory (`IN_PLACE`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from arraymill_proto.errors import ComputationError
from arraymill_server.ops.casting import Array, cast_into

Operand: TypeAlias = Array | np.generic | bool | int | float | complex
Params: TypeAlias = Mapping[str, str | int | float | bool]
Kernel: TypeAlias = Callable[[Sequence[Any], Array, Params], None]
"""(args, out, params): fills `out`, whose dtype is the result's."""

UFUNCS: Final[tuple[np.ufunc, ...]] = (
    # arithmetic
    np.add, np.subtract, np.multiply, np.divide, np.floor_divide, np.remainder, np.fmod, np.float_power,
    np.negative, np.positive, np.absolute, np.fabs, np.sign, np.reciprocal, np.square, np.sqrt, np.cbrt,
    np.maximum, np.minimum, np.fmax, np.fmin, np.gcd, np.lcm, np.heaviside, np.conjugate,
    # exponents and logarithms
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.logaddexp, np.logaddexp2,
    # angles
    np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2, np.hypot,
    np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh, np.degrees, np.radians, np.deg2rad, np.rad2deg,
    # comparison and logic
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    # bits
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift, np.bitwise_count,
    # floating point
    np.rint, np.floor, np.ceil, np.trunc, np.isfinite, np.isinf, np.isnan, np.signbit,
    np.copysign, np.nextafter, np.spacing, np.ldexp,
)  # fmt: skip
"""Every ufunc that is a kernel as it stands."""


def _of(ufunc: np.ufunc) -> Kernel:
    """Make the kernel of one ufunc; params["dtype"] names the loop that NumPy shall take."""

    def kernel(args: Sequence[Any], out: Array, params: Params) -> None:
        ufunc(*args, out=out, **params)

    return kernel


def _part_of(ufunc: np.ufunc) -> Kernel:
    """Make the kernel of a ufunc of two results, of which params["part"] names one."""

    def kernel(args: Sequence[Any], out: Array, params: Params) -> None:
        ufunc(*args, out=(None, out) if params["part"] else (out, None), dtype=params.get("dtype"))

    return kernel


_unguarded_power: Final = _of(np.power)


def _power(args: Sequence[Any], out: Array, params: Params) -> None:
    try:
        _unguarded_power(args, out, params)
    except ValueError as error:
        raise ComputationError(f"power: {error}", operation="power") from error


def _clip(args: Sequence[Any], out: Array, params: Params) -> None:
    np.clip(args[0], args[1], args[2], out=out)


def _clip_min(args: Sequence[Any], out: Array, params: Params) -> None:
    np.clip(args[0], args[1], None, out=out)


def _clip_max(args: Sequence[Any], out: Array, params: Params) -> None:
    np.clip(args[0], None, args[1], out=out)


def _where(args: Sequence[Any], out: Array, params: Params) -> None:
    condition, chosen, other = args
    cast_into(out, other)
    np.copyto(out, np.asarray(chosen), casting="unsafe", where=np.asarray(condition).astype(np.bool_, copy=False))


def _astype(args: Sequence[Any], out: Array, params: Params) -> None:
    cast_into(out, args[0])


def _real(args: Sequence[Any], out: Array, params: Params) -> None:
    np.copyto(out, np.real(np.asarray(args[0])), casting="unsafe")


def _imag(args: Sequence[Any], out: Array, params: Params) -> None:
    values = np.asarray(args[0])
    np.copyto(out, np.imag(values) if values.dtype.kind == "c" else 0, casting="unsafe")


def _round(args: Sequence[Any], out: Array, params: Params) -> None:
    values = np.asarray(args[0])
    decimals = int(params.get("decimals", 0))
    if values.dtype.kind in "fc" and values.dtype == out.dtype and values.shape == out.shape:
        np.round(values, decimals, out=out)
    else:
        cast_into(out, np.round(values, decimals))


def _scan_multiply(args: Sequence[Any], out: Array, params: Params) -> None:
    """Multiply, but leave alone what a carry of 1 stands before: (∞+0j)·(1+0j) would become ∞+NaNj."""
    scanned, carry = args
    if out.dtype.kind == "c":
        np.copyto(out, scanned)
        np.multiply(scanned, carry, out=out, where=np.not_equal(carry, 1))
    else:
        np.multiply(scanned, carry, out=out)


KERNELS: Final[dict[str, Kernel]] = {
    **{ufunc.__name__: _of(ufunc) for ufunc in UFUNCS},
    **{ufunc.__name__: _part_of(ufunc) for ufunc in (np.modf, np.frexp, np.divmod)},
    "power": _power,
    "clip": _clip,
    "where": _where,
    "astype": _astype,
    "real": _real,
    "imag": _imag,
    "round": _round,
}
"""The kernel of every elementwise operation of the catalogue. modf, frexp and divmod take `part` 0 or 1."""

PLANNER_KERNELS: Final[dict[str, Kernel]] = {
    "clip.min": _clip_min,
    "clip.max": _clip_max,
    "scan.add": _of(np.add),
    "scan.multiply": _scan_multiply,
}
"""Kernels that the planner alone names: clip with one bound, args (x, bound); and how a scan goes on from block to
block, args (block scanned by itself, the scan's state before it)."""

IN_PLACE: Final[frozenset[str]] = frozenset({ufunc.__name__ for ufunc in UFUNCS} | {"power", "scan.add"})
"""Kernels whose `out` may be the very memory of an argument of the same dtype and shape."""
