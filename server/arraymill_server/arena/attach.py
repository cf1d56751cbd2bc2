"""The worker's side of the arena: bytes of the inherited array, and NumPy views of them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

RawBytes: TypeAlias = ctypes.Array[ctypes.c_ubyte]
"""What `multiprocess.RawArray` returns for bytes; it travels to a worker as an argument of its process."""


def attach(raw: RawBytes) -> memoryview:
    """Return all bytes of the arena as a writable memoryview."""
    return memoryview(raw).cast("B")


def view(
    memory: memoryview, offset: int, shape: Sequence[int], strides: Sequence[int] | None, dtype: DTypeLike
) -> NDArray[Any]:
    """Return an array over memory; no element is copied.

    Args:
        memory: Bytes, for example of `attach`.
        offset: Bytes from the start of `memory` to element (0, …, 0).
        shape: Lengths of the axes.
        strides: Bytes per axis, 0 for broadcast and negative for reversed axes; None: C order.
        dtype: Of either byte order.

    Raises:
        ValueError: The array would reach outside of the memory.
    """
    if offset < 0:  # NumPy checks every other way out of the buffer, but not this one (2.4)
        raise ValueError(f"offset is {offset}, before the start of the memory")
    return np.ndarray(shape, dtype, memory, offset, strides)
