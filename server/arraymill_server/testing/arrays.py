"""Arrays as a client without wires sees them: what it sends, and what it gets."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arraymill_proto.graph import Order
from arraymill_server.plan.model import ResultSpec

Array: TypeAlias = NDArray[np.generic]
Bytes: TypeAlias = NDArray[np.uint8]

POISON: Final = 0xA5
"""Fills memory that nobody may read, and results that nobody has sent."""


def wire_bytes(array: Array, order: Order) -> Bytes:
    """Return the bytes of an array, its axes taken in some order."""
    return np.frombuffer(array.transpose(order).tobytes(), np.uint8)


def empty_result(result: ResultSpec) -> Array:
    """Return memory for a result, its axes in their order on the wire, poisoned."""
    shape = tuple(result.type.shape[axis] for axis in result.order)
    return np.full(shape, np.frombuffer(bytes([POISON] * 16), result.type.dtype)[0])


def put(result: Array, offset: int, data: Bytes | memoryview) -> None:
    """Write a range of a result that has come."""
    flat = result.reshape(-1).view(np.uint8)
    flat[offset : offset + len(data)] = data


def as_seen(array: Array, result: ResultSpec) -> Array:
    """Return a result with its axes as the user counts them."""
    inverse: Order = tuple(int(axis) for axis in np.argsort(result.order))
    return array.transpose(inverse)
