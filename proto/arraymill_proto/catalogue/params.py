"""The types of parameters, by name: a name means the same in every operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

import numpy as np

from arraymill_proto.catalogue.signature import BoundParams, Operand, Signature, is_operand
from arraymill_proto.dtypes import DType, native
from arraymill_proto.errors import ParameterError
from arraymill_proto.graph import ArrayType, ParamValue
from arraymill_proto.limits import shorten

ARRAY_PARAMS: Final = frozenset({"where", "initial", "min", "max"})
"""The parameters that refer to a node; all others are plain values."""

_Check: TypeAlias = Callable[[ParamValue | Operand], bool]


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_axis(value: ParamValue | Operand) -> bool:
    return _is_integer(value) or (isinstance(value, tuple) and all(map(_is_integer, value)))


def _is_dtype(value: object) -> bool:
    if isinstance(value, np.dtype):
        native(cast("DType", value))
        return True
    return False


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_constant(value: ParamValue | Operand) -> bool:
    return is_operand(value) and not isinstance(value, ArrayType)


_CHECKS: Final[Mapping[str, tuple[_Check, str]]] = {
    "axis": (_is_axis, "an integer or a tuple of integers"),
    "keepdims": (lambda value: isinstance(value, bool), "True or False"),
    "dtype": (_is_dtype, "a dtype"),
    "ddof": (_is_real, "a real number"),
    "decimals": (_is_integer, "an integer"),
    "part": (lambda value: _is_integer(value) and value in (0, 1), "0 or 1"),
    "where": (is_operand, "an array or a scalar"),
    "min": (is_operand, "an array or a scalar"),
    "max": (is_operand, "an array or a scalar"),
    "initial": (_is_constant, "a constant"),
}


def check_params(signature: Signature, params: BoundParams) -> None:
    """Check that an operation has these parameters, that none is missing, and their types.

    Raises:
        ParameterError: Unknown, missing, or of a wrong type.
        DTypeError: `dtype` is not supported.
    """
    for name, value in params.items():
        if name not in signature.params:
            raise _unknown(signature, name)
        is_valid, wanted = _CHECKS[name]
        if not is_valid(value):
            raise ParameterError(f"{name} must be {wanted}, not {shorten(repr(value))}", parameter=name)
    for name in signature.required:
        if name not in params:
            raise ParameterError(f"the parameter {name} is missing: {_CHECKS[name][1]}", parameter=name)


def _unknown(signature: Signature, name: str) -> ParameterError:
    known = ", ".join(signature.params) or "none"
    return ParameterError(
        f"no parameter {shorten(repr(name))}: the parameters are {known}", parameter=shorten(name), parameters=known
    )
