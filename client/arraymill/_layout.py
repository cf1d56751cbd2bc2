"""How the elements of an array lie in memory, and how a range of them is cut into sub-arrays.

A range of elements counted in C order is not a box, but it is at most 2·ndim - 1 boxes: the rest of the first row, the
whole rows, the start of the last row, and the same again inside those rows. NumPy copies each box at full speed, so
frames are gathered from and scattered into arrays of any strides without a copy of the whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arraymill_proto.graph import Order

AnyArray: TypeAlias = NDArray[Any]


def is_masked(data: object) -> bool:
    """Tell whether an array is masked, without loading numpy.ma: who has not loaded it has no masked array.

    Ctrl-C in the middle of a first load here could leave the module locked for all threads.
    """
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(data, masked.MaskedArray)


def preferred_order(array: AnyArray) -> Order | None:
    """Return the order of axes, slowest first, in which the elements come closest to how they lie in memory.

    Axes of length 1 and broadcast axes (stride 0) keep their places: moving them gains nothing.

    Returns:
        A permutation, or None when it is the C order.
    """
    movable = [axis for axis in range(array.ndim) if array.shape[axis] > 1 and array.strides[axis] != 0]
    ranked = sorted(movable, key=lambda axis: -abs(array.strides[axis]))
    if ranked == movable or array.size == 0:
        return None
    order = list(range(array.ndim))
    for place, axis in zip(movable, ranked, strict=True):
        order[place] = axis
    return tuple(order)


def in_order(array: AnyArray, order: Order | None) -> AnyArray:
    """Return a view of at least one dimension whose C order is the array's elements in `order`."""
    view = array.transpose(order) if order else array
    return view if view.ndim else view.reshape(1)


def flat_bytes(view: AnyArray) -> memoryview | None:
    """Return the bytes of a C-contiguous array without copying, or None when it is not contiguous."""
    return view.reshape(-1).view(np.uint8).data if view.flags.c_contiguous else None


def boxes(array: AnyArray, start: int, stop: int, at: int = 0) -> Iterator[tuple[int, AnyArray]]:
    """Cut the elements start … stop - 1 (C order) of an array into sub-arrays.

    Args:
        array: An array of at least one dimension.
        start: The first element.
        stop: One past the last element; greater than `start`.
        at: What to count the places from.

    Yields:
        The place of the sub-array's first element within the range, and the sub-array, a view.
    """
    if array.ndim == 1:
        yield at, array[start:stop]
        return
    row = prod(array.shape[1:])
    first, head = divmod(start, row)
    last, tail = divmod(stop, row)
    if first == last:
        yield from boxes(array[first], head, tail, at)
        return
    if head:
        yield from boxes(array[first], head, row, at)
        at += row - head
        first += 1
    if first < last:
        yield at, array[first:last]
        at += (last - first) * row
    if tail:
        yield from boxes(array[last], 0, tail, at)
