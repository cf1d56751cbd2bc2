"""Regions of contiguous memory, and of the components of partials and carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arraymill_server.plan.model import align
from arraymill_server.plan.program import Region


def contiguous(address: int, shape: tuple[int, ...], itemsize: int) -> Region:
    """A C-contiguous array at an address."""
    strides = [0] * len(shape)
    step = itemsize
    for axis in reversed(range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return Region(address, shape, tuple(strides))


def parts(
    address: int, shape: tuple[int, ...], components: Sequence[np.dtype[np.generic]], most_elements: int
) -> tuple[Region, ...]:
    """The components of a partial or of a carry, one after the other, each with room for the largest block's."""
    regions: list[Region] = []
    for dtype in components:
        regions.append(contiguous(address, shape, dtype.itemsize))
        address += align(most_elements * dtype.itemsize)
    return tuple(regions)


class Buffers:
    """Numbers of equal buffers, taken and given back."""

    def __init__(self, count: int, first: int = 0) -> None:
        self._free = list(range(first, count))[::-1]

    def take(self) -> int:
        """Take a buffer; the layout has counted that there is one."""
        return self._free.pop()

    def take_nowait(self) -> int | None:
        return self._free.pop() if self._free else None

    def give(self, number: int) -> None:
        self._free.append(number)
