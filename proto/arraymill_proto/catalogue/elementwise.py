"""Elementwise operations: NumPy's unary and binary ufuncs of numbers, and clip, where, astype, real, imag, round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from arraymill_proto.catalogue.numpy_rules import function_dtype, ufunc_dtype
from arraymill_proto.catalogue.shapes import broadcast_shapes, check_shape
from arraymill_proto.catalogue.signature import (
    BoundParams,
    Kind,
    Known,
    Operand,
    Rule,
    Signature,
    operand_type,
)
from arraymill_proto.dtypes import DType, native
from arraymill_proto.graph import ArrayType, Shape

_UNARY: Final = {
    "absolute": "|x|; the modulus of complex numbers",
    "arccos": "inverse cosine, in radians",
    "arccosh": "inverse hyperbolic cosine",
    "arcsin": "inverse sine, in radians",
    "arcsinh": "inverse hyperbolic sine",
    "arctan": "inverse tangent, in radians",
    "arctanh": "inverse hyperbolic tangent",
    "bitwise_count": "number of 1-bits of |x|",
    "cbrt": "real cube root",
    "ceil": "smallest integer ≥ x",
    "conjugate": "complex conjugate",
    "cos": "cosine of radians",
    "cosh": "hyperbolic cosine",
    "deg2rad": "degrees to radians",
    "degrees": "radians to degrees",
    "exp": "e ** x",
    "exp2": "2 ** x",
    "expm1": "e ** x - 1, exact near 0",
    "fabs": "|x| as a float",
    "floor": "largest integer ≤ x",
    "invert": "every bit flipped; not, for booleans",
    "isfinite": "neither infinite nor NaN",
    "isinf": "infinite",
    "isnan": "NaN",
    "log": "natural logarithm",
    "log10": "logarithm to base 10",
    "log1p": "log(1 + x), exact near 0",
    "log2": "logarithm to base 2",
    "logical_not": "x is zero or False",
    "negative": "-x",
    "positive": "+x, a copy",
    "rad2deg": "radians to degrees",
    "radians": "degrees to radians",
    "reciprocal": "1 / x",
    "rint": "nearest integer, ties to even",
    "sign": "-1, 0 or 1; x / |x| for complex numbers",
    "signbit": "the sign bit is set",
    "sin": "sine of radians",
    "sinh": "hyperbolic sine",
    "spacing": "distance to the next number away from zero",
    "sqrt": "square root",
    "square": "x * x",
    "tan": "tangent of radians",
    "tanh": "hyperbolic tangent",
    "trunc": "nearest integer towards zero",
}

_BINARY: Final = {
    "add": "x + y",
    "arctan2": "angle of the point (y, x), in radians",
    "bitwise_and": "x & y",
    "bitwise_or": "x | y",
    "bitwise_xor": "x ^ y",
    "copysign": "|x| with the sign of y",
    "divide": "x / y",
    "equal": "x == y",
    "float_power": "x ** y in double precision at least",
    "floor_divide": "x // y",
    "fmax": "the greater; NaN only where both are",
    "fmin": "the lesser; NaN only where both are",
    "fmod": "remainder with the sign of x",
    "gcd": "greatest common divisor",
    "greater": "x > y",
    "greater_equal": "x >= y",
    "heaviside": "0, y or 1 for x below, at or above 0",
    "hypot": "sqrt(x * x + y * y) without overflow",
    "lcm": "least common multiple",
    "ldexp": "x * 2 ** y for integers y",
    "left_shift": "x << y",
    "less": "x < y",
    "less_equal": "x <= y",
    "logaddexp": "log(exp(x) + exp(y))",
    "logaddexp2": "log2(2 ** x + 2 ** y)",
    "logical_and": "both are true",
    "logical_or": "one or both are true",
    "logical_xor": "exactly one is true",
    "maximum": "the greater; NaN where one is",
    "minimum": "the lesser; NaN where one is",
    "multiply": "x * y",
    "nextafter": "the next number after x towards y",
    "not_equal": "x != y",
    "power": "x ** y",
    "remainder": "remainder with the sign of y",
    "right_shift": "x >> y",
    "subtract": "x - y",
}

_TWO_OUTPUTS: Final = {
    "divmod": "part 0: x // y, part 1: the remainder",
    "frexp": "part 0: mantissa, part 1: exponent to base 2",
    "modf": "part 0: fractional part, part 1: integral part",
}


def _shape(operands: Sequence[Operand]) -> Shape:
    """Return the shape to which the operands broadcast; scalars have none."""
    return broadcast_shapes(*[operand.shape for operand in operands if isinstance(operand, ArrayType)])


def _known(operand: Operand) -> Known:
    return operand.dtype if isinstance(operand, (ArrayType, np.generic)) else operand


def _array_type(operands: Sequence[Operand], dtype: DType) -> ArrayType:
    shape = _shape(operands)
    check_shape(shape, dtype.itemsize)
    return ArrayType(shape, dtype)


def _ufunc_rule(name: str) -> Rule:
    def rule(operands: Sequence[Operand], params: BoundParams) -> ArrayType:
        asked = cast("DType | None", params.get("dtype"))
        part = cast("int", params.get("part", 0))
        return _array_type(operands, ufunc_dtype(name, asked, part, *map(_known, operands)))

    return rule


def _ufunc(name: str, summary: str, arity: int) -> Signature:
    two = name in _TWO_OUTPUTS
    params, required = (("part", "dtype"), ("part",)) if two else (("dtype",), ())
    return Signature(name, Kind.ELEMENTWISE, arity, arity, params, _ufunc_rule(name), summary, required)


def _where_rule(operands: Sequence[Operand], params: BoundParams) -> ArrayType:
    return _array_type(operands, function_dtype("where", 0, *map(_known, operands)))


def _clip_rule(operands: Sequence[Operand], params: BoundParams) -> ArrayType:
    bounds = [cast("Operand | None", params.get(name)) for name in ("min", "max")]
    known = [None if bound is None else _known(bound) for bound in bounds]
    given = [*operands, *(bound for bound in bounds if bound is not None)]
    return _array_type(given, function_dtype("clip", 0, _known(operands[0]), *known))


def _astype_rule(operands: Sequence[Operand], params: BoundParams) -> ArrayType:
    return _array_type([operand_type(operands[0])], native(cast("DType", params["dtype"])))


def _unary_rule(name: str) -> Rule:
    def rule(operands: Sequence[Operand], params: BoundParams) -> ArrayType:
        decimals = cast("int", params.get("decimals", 0))
        return _array_type(operands, function_dtype(name, decimals, _known(operands[0])))

    return rule


_FUNCTIONS: Final = [
    Signature(
        "where", Kind.ELEMENTWISE, 3, 3, (), _where_rule, "the second operand where the first is true, else the third"
    ),
    Signature("clip", Kind.ELEMENTWISE, 1, 1, ("min", "max"), _clip_rule, "x held between min and max"),
    Signature("astype", Kind.ELEMENTWISE, 1, 1, ("dtype",), _astype_rule, "x cast to dtype", ("dtype",)),
    Signature("real", Kind.ELEMENTWISE, 1, 1, (), _unary_rule("real"), "real part"),
    Signature("imag", Kind.ELEMENTWISE, 1, 1, (), _unary_rule("imag"), "imaginary part"),
    Signature(
        "round", Kind.ELEMENTWISE, 1, 1, ("decimals",), _unary_rule("round"), "x rounded to decimals, ties to even"
    ),
]

ELEMENTWISE: Final[list[Signature]] = [
    *(_ufunc(name, summary, 1) for name, summary in _UNARY.items()),
    *(_ufunc(name, summary, 2) for name, summary in _BINARY.items()),
    *(_ufunc(name, summary, 2 if name == "divmod" else 1) for name, summary in _TWO_OUTPUTS.items()),
    *_FUNCTIONS,
]
"""All elementwise operations; ufuncs by their own names (absolute, not abs)."""
