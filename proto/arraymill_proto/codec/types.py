"""Types, slices and dtypes as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from arraymill_proto.dtypes import DType, from_code, native, to_code
from arraymill_proto.errors import ShapeError
from arraymill_proto.graph import ArrayType, Slice
from arraymill_proto.limits import MAX_DIMENSIONS
from arraymill_proto.v1 import arraymill_pb2 as pb


def type_to_pb(array_type: ArrayType) -> pb.ArrayType:
    """Return the message of a type."""
    return pb.ArrayType(dtype=dtype_to_pb(array_type.dtype), shape=array_type.shape)


def type_from_pb(message: pb.ArrayType) -> ArrayType:
    """Return the type that a message describes, in native byte order.

    Raises:
        DTypeError: The dtype is unknown.
        ShapeError: Too many dimensions.
    """
    return ArrayType(numbers(message.shape, "dimensions"), dtype_from_pb(message.dtype))


def slice_to_pb(piece: Slice) -> pb.Slice:
    """Return the message of a slice."""
    return pb.Slice(start=piece.start, step=piece.step, length=piece.length, drop=piece.drop)


def slice_from_pb(message: pb.Slice) -> Slice:
    """Return the slice that a message describes."""
    return Slice(message.start, message.step, message.length, message.drop)


def dtype_to_pb(dtype: DType) -> pb.DType:
    """Return the code of a dtype; the byte order is not in it.

    Raises:
        DTypeError: Arrays of this dtype are not supported.
    """
    return cast("pb.DType", to_code(dtype))


def dtype_from_pb(code: int) -> DType:
    """Return the dtype of a code, in native byte order.

    Raises:
        DTypeError: There is no such code.
    """
    return native(from_code(code))


def numbers(values: Sequence[int], what: str) -> tuple[int, ...]:
    """Unfold numbers of which there is at most one per dimension."""
    if len(values) > MAX_DIMENSIONS:
        raise ShapeError(f"{len(values)} {what}: at most {MAX_DIMENSIONS} are supported")
    return tuple(values)
