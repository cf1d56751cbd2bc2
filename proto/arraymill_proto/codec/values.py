"""Parameters and constants as messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from arraymill_proto.codec.types import dtype_from_pb, dtype_to_pb
from arraymill_proto.dtypes import from_code, native
from arraymill_proto.errors import AxisError, GraphError, IntegerOverflowError, ParameterError
from arraymill_proto.graph import NodeRef, ParamValue, Weak
from arraymill_proto.limits import MAX_BIG_INT_CHARS, MAX_DIMENSIONS, shorten
from arraymill_proto.v1 import arraymill_pb2 as pb

_INT32: Final = range(-(1 << 31), 1 << 31)
_INT64: Final = range(-(1 << 63), 1 << 63)
_BIG_INT: Final = re.compile(rf"-?[0-9]{{1,{MAX_BIG_INT_CHARS - 1}}}")
_BIG_INT_BITS: Final = 209
"""Integers of at most so many bits have at most 63 digits."""


def write_param(message: pb.Param, name: str, value: ParamValue) -> None:
    """Fill the message of a parameter.

    Raises:
        ParameterError: An integer beyond 64 bits.
        AxisError: An axis beyond 32 bits.
        DTypeError: The dtype is not supported.
    """
    match value:
        case bool():
            message.bool_value = value
        case int():
            if value not in _INT64:
                raise ParameterError(f"{name} does not fit 64 bits: {shorten(hex(value))}", parameter=name)
            message.int_value = value
        case float():
            message.float_value = value
        case str():
            message.string_value = value
        case tuple():
            message.axes.SetInParent()  # no axes are not the same as no parameter
            message.axes.axis.extend(_axis(axis) for axis in value)
        case NodeRef():
            message.node = value.node
        case _:
            message.dtype = dtype_to_pb(value)


def _axis(axis: int) -> int:
    if axis not in _INT32:
        raise AxisError(f"axis {shorten(hex(axis))} is out of bounds for any array", parameter="axis")
    return axis


def param_from_pb(name: str, message: pb.Param) -> ParamValue:
    """Return the parameter that a message describes.

    Raises:
        ParameterError: Its value is missing or of an unknown kind.
        AxisError: There are more axes than any array has.
        DTypeError: The dtype is unknown.
    """
    match message.WhichOneof("value"):
        case "bool_value" | "int_value" | "float_value" | "string_value" as kind:
            return cast("bool | int | float | str", getattr(message, kind))
        case "axes":
            return _axes(message.axes.axis)
        case "dtype":
            return dtype_from_pb(message.dtype)
        case "node":
            return NodeRef(message.node)
        case _:
            name = shorten(name)
            raise ParameterError(f"the value of {name} is missing or of a kind newer than this side", parameter=name)


def _axes(axes: Sequence[int]) -> tuple[int, ...]:
    if len(axes) > MAX_DIMENSIONS:
        raise AxisError(f"{len(axes)} axes are given: an array has at most {MAX_DIMENSIONS}", parameter="axis")
    return tuple(axes)


def write_constant(message: pb.Constant, value: Weak | np.generic) -> None:
    """Fill the message of a constant.

    Raises:
        IntegerOverflowError: A Python integer beyond 209 bits.
        DTypeError: The dtype of a NumPy scalar is not supported.
    """
    match value:
        case np.generic():
            message.scalar.dtype = dtype_to_pb(value.dtype)
            message.scalar.data = np.asarray(value, value.dtype.newbyteorder("<")).tobytes()
        case bool():
            message.python_bool = value
        case int() if value in _INT64:
            message.python_int = value
        case int():
            message.python_big_int = _big_int_text(value)
        case float():
            message.python_float = value
        case complex():
            message.python_complex.real = value.real
            message.python_complex.imag = value.imag


def _big_int_text(value: int) -> str:
    if value.bit_length() > _BIG_INT_BITS:
        raise IntegerOverflowError(
            f"a Python integer of {value.bit_length()} bits: at most {_BIG_INT_BITS} bits can be sent"
        )
    return str(value)


def constant_from_pb(message: pb.Constant) -> Weak | np.generic:
    """Return the scalar that a message describes.

    Raises:
        GraphError: Its value is missing, of an unknown kind, or malformed.
        DTypeError: The dtype is unknown.
    """
    match message.WhichOneof("value"):
        case "scalar":
            return _scalar_from_pb(message.scalar)
        case "python_bool":
            return message.python_bool
        case "python_int":
            return message.python_int
        case "python_big_int":
            if not _BIG_INT.fullmatch(message.python_big_int):
                raise GraphError(
                    f"python_big_int {shorten(repr(message.python_big_int))} is no decimal integer of at most "
                    f"{MAX_BIG_INT_CHARS} characters"
                )
            return int(message.python_big_int)
        case "python_float":
            return message.python_float
        case "python_complex":
            return complex(message.python_complex.real, message.python_complex.imag)
        case _:
            raise GraphError("the value of a constant is missing or of a kind newer than this side")


def _scalar_from_pb(message: pb.Scalar) -> np.generic:
    dtype = from_code(message.dtype)
    if len(message.data) != dtype.itemsize:
        raise GraphError(f"a scalar of {dtype} has {dtype.itemsize} bytes, {len(message.data)} were sent")
    value: np.generic = np.frombuffer(message.data, dtype).astype(native(dtype))[0]
    return value
