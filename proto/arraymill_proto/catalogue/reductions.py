"""Reductions and scans: their axes, masks, identities and dtypes, as NumPy has each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from arraymill_proto.catalogue.numpy_rules import reduction_dtype
from arraymill_proto.catalogue.shapes import broadcast_shapes, normalise_axes, reduced_shape
from arraymill_proto.catalogue.signature import BoundParams, Kind, Known, Operand, Signature, operand_type
from arraymill_proto.dtypes import DType
from arraymill_proto.errors import AxisError, DTypeError, InvalidJobError, ParameterError, ShapeError
from arraymill_proto.graph import ArrayType, Shape
from arraymill_proto.limits import shorten


@dataclass(frozen=True, slots=True)
class _Reduction:
    """The rule of one reduction."""

    name: str
    has_identity: bool = True
    """False: an empty array has no answer unless `initial` is given."""
    one_axis: bool = False
    """True: the axis is None or one integer, never a tuple."""
    strict_axis: bool = False
    """True: without a mask, NumPy does not let axis 0 through for an array without dimensions."""
    has_mean: bool = False
    """True: the elements' distances from their mean are reduced, so dtype= must be able to hold the mean."""

    def __call__(self, operands: Sequence[Operand], params: BoundParams) -> ArrayType:
        source = operand_type(operands[0])
        axes = self._axes(params, source.ndim)
        initial = cast("Known | None", params.get("initial"))
        if "where" in params:
            self._check_where(cast("Operand", params["where"]), source.shape, initial)
        if not self.has_identity and initial is None:
            self._check_not_empty(source.shape, axes)
        asked = cast("DType | None", params.get("dtype"))
        if asked is not None and self.has_mean:
            _check_holds_mean(source.dtype, asked)
        dtype = reduction_dtype(self.name, source.dtype, asked, initial)
        return ArrayType(reduced_shape(source.shape, axes, bool(params.get("keepdims", False))), dtype)

    def _axes(self, params: BoundParams, ndim: int) -> tuple[int, ...]:
        axis = cast("int | tuple[int, ...] | None", params.get("axis"))
        if self.one_axis:
            _check_one_axis(axis)
        if self.strict_axis and ndim == 0 and isinstance(axis, int) and params.get("where", True) is True:
            raise AxisError(
                f"axis {axis} is out of bounds for array of dimension 0", axis=axis, ndim=0, parameter="axis"
            )
        return normalise_axes(axis, ndim)

    def _check_where(self, where: Operand, shape: Shape, initial: Known | None) -> None:
        mask = operand_type(where)
        if mask.dtype.kind != "b":
            raise DTypeError(f"where must be boolean, not {mask.dtype}", parameter="where", dtype=mask.dtype)
        if broadcast_shapes(mask.shape, shape) != shape:
            raise ShapeError(
                f"where of shape {mask.shape} does not broadcast to the array's shape {shape}", parameter="where"
            )
        if not self.has_identity and initial is None and where is not True:
            raise InvalidJobError(f"{self.name} has no identity, so a where mask needs initial", parameter="initial")

    def _check_not_empty(self, shape: Shape, axes: Sequence[int]) -> None:
        if any(shape[axis] == 0 for axis in axes):
            hint = ": give initial" if "initial" in _PARAMS[self.name] else ""
            raise ShapeError(
                f"zero-size array of shape {shape} reduced over axes {tuple(axes)}: there is no identity{hint}",
                shape=shape,
            )


def _check_holds_mean(source: DType, asked: DType) -> None:
    """Refuse what NumPy computes around a mean that it has truncated: nobody wants that number."""
    if asked.kind not in "fc" or (source.kind == "c" and asked.kind != "c"):
        raise DTypeError(
            f"dtype={asked} cannot hold the mean of {source} elements; give an inexact dtype and cast the result",
            parameter="dtype",
            dtype=asked,
        )


def _check_one_axis(axis: int | tuple[int, ...] | None) -> None:
    if isinstance(axis, tuple):
        raise ParameterError(f"axis must be one integer or None, not {shorten(repr(axis))}", parameter="axis")


@dataclass(frozen=True, slots=True)
class _Scan:
    """The rule of one scan."""

    name: str

    def __call__(self, operands: Sequence[Operand], params: BoundParams) -> ArrayType:
        source = operand_type(operands[0])
        axis = cast("int | None", params.get("axis"))
        _check_one_axis(axis)
        normalise_axes(axis, source.ndim)
        dtype = reduction_dtype(self.name, source.dtype, cast("DType | None", params.get("dtype")), None)
        return ArrayType((source.size,) if axis is None or source.ndim == 0 else source.shape, dtype)


_PARAMS: Final[dict[str, tuple[str, ...]]] = {
    "sum": ("axis", "dtype", "keepdims", "initial", "where"),
    "prod": ("axis", "dtype", "keepdims", "initial", "where"),
    "mean": ("axis", "dtype", "keepdims", "where"),
    "var": ("axis", "dtype", "ddof", "keepdims", "where"),
    "std": ("axis", "dtype", "ddof", "keepdims", "where"),
    "min": ("axis", "keepdims", "initial", "where"),
    "max": ("axis", "keepdims", "initial", "where"),
    "ptp": ("axis", "keepdims"),
    "argmin": ("axis", "keepdims"),
    "argmax": ("axis", "keepdims"),
    "any": ("axis", "keepdims", "where"),
    "all": ("axis", "keepdims", "where"),
    "count_nonzero": ("axis", "keepdims"),
}


def _reduction(rule: _Reduction, summary: str) -> Signature:
    return Signature(rule.name, Kind.REDUCTION, 1, 1, _PARAMS[rule.name], rule, summary)


REDUCTIONS: Final[list[Signature]] = [
    _reduction(_Reduction("sum"), "sum of elements"),
    _reduction(_Reduction("prod"), "product of elements"),
    _reduction(_Reduction("mean", strict_axis=True), "arithmetic mean"),
    _reduction(
        _Reduction("var", strict_axis=True, has_mean=True), "variance: mean of |x - mean|²; divided by n - ddof"
    ),
    _reduction(_Reduction("std", strict_axis=True, has_mean=True), "standard deviation: square root of var"),
    _reduction(_Reduction("min", has_identity=False), "least element; NaN if there is one"),
    _reduction(_Reduction("max", has_identity=False), "greatest element; NaN if there is one"),
    _reduction(_Reduction("ptp", has_identity=False), "max - min"),
    _reduction(_Reduction("argmin", has_identity=False, one_axis=True), "index of the first least element"),
    _reduction(_Reduction("argmax", has_identity=False, one_axis=True), "index of the first greatest element"),
    _reduction(_Reduction("any"), "some element is true"),
    _reduction(_Reduction("all"), "every element is true"),
    _reduction(_Reduction("count_nonzero"), "number of elements other than zero"),
]

SCANS: Final[list[Signature]] = [
    Signature("cumsum", Kind.SCAN, 1, 1, ("axis", "dtype"), _Scan("cumsum"), "sums of all elements up to each"),
    Signature("cumprod", Kind.SCAN, 1, 1, ("axis", "dtype"), _Scan("cumprod"), "products of all elements up to each"),
]
