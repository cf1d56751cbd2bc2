"""How an n-d domain is cut into slabs: blocks of a pass, and the pieces in which a worker walks a block.

A slab is a contiguous range of the domain in C order over its axes, and itself an n-d box: one index on each axis
before the split axis, a chunk of the split axis, and every later axis whole::

    shape (4, 5, 6), 24 elements to a block: split axis 1, rows of 6, at most 4 rows, so 2 chunks of 3 and 2 rows
    block 0 = [0:1, 0:3, 0:6]   block 1 = [0:1, 3:5, 0:6]   block 2 = [1:2, 0:3, 0:6]   …

Rules: a grid is a function of shape and sizes only, so the same array is always cut alike; chunks are equalised, so no
sliver remains; slabs are numbered in C order, so merging them by number merges them in the order of their elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

BLOCK_BYTES: Final = 4 << 20
"""Target size of a block. A dispatch costs about 60 µs: at 1 MiB it shows, at 64 MiB cores idle at the end."""

PIECE_BYTES: Final = 512 << 10
"""Target size of a register in a worker: large enough to hide 2 to 3 µs of Python for each kernel, small enough for
the second-level cache. 64 MiB of float64 with 128 KiB, 256 KiB, 512 KiB and 1 MiB: sqrt(x*x+1).sum() in 26, 23, 20 and
19 ms (NumPy 34), var in 24, 18, 14 and 12 ms (NumPy 21), an expression of seven steps and three registers in 30, 26, 23
and 20 ms (NumPy 62). 1 MiB wins only while the last-level cache is free for one worker."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A domain cut into slabs."""

    shape: tuple[int, ...]
    """Shape of the domain."""
    axis: int
    """The split axis; earlier axes are cut into single indices, later ones not at all. 0 for a 0-d domain."""
    rows: int
    """Length of a chunk of the split axis; the last chunk may be shorter."""

    @classmethod
    def cut(
        cls, shape: tuple[int, ...], row_itemsize_bytes: int, target_bytes: int, max_elements: int | None = None
    ) -> Grid:
        """Cut a domain into slabs of at most `target_bytes`, but of one element at least.

        Args:
            shape: Shape of the domain.
            row_itemsize_bytes: Bytes of one element of the domain.
            target_bytes: Most bytes of a slab.
            max_elements: Most elements of a slab, when that is less.
        """
        limit = max(1, target_bytes // max(1, row_itemsize_bytes))
        if max_elements is not None:
            limit = max(1, min(limit, max_elements))
        if prod(shape) <= limit:
            return cls(shape, 0, max(1, shape[0] if shape else 1))
        axis = next(k for k in range(len(shape)) if prod(shape[k + 1 :]) <= limit)
        length = shape[axis]
        chunks = -(-length // (limit // prod(shape[axis + 1 :])))
        return cls(shape, axis, -(-length // chunks))

    @property
    def counts(self) -> tuple[int, ...]:
        """Slabs along each axis of the domain."""
        k = self.axis
        return tuple(
            n if axis < k else -(-n // self.rows) if axis == k else min(n, 1) for axis, n in enumerate(self.shape)
        )

    def __len__(self) -> int:
        return prod(self.counts)

    def position(self, number: int) -> tuple[int, ...]:
        """Return the coordinates of a slab among `counts`."""
        if not 0 <= number < len(self):
            raise IndexError(f"slab {number} of {len(self)}")
        position: list[int] = []
        for count in reversed(self.counts):
            number, index = divmod(number, count)
            position.append(index)
        return tuple(reversed(position))

    def block(self, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the first index and the shape of a slab."""
        return self.at(self.position(number))

    def at(self, position: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the first index and the shape of the slab at some coordinates among `counts`."""
        k = self.axis
        start = tuple(p * self.rows if axis == k else p for axis, p in enumerate(position))
        extent = tuple(
            1 if axis < k else min(self.rows, n - start[k]) if axis == k else n for axis, n in enumerate(self.shape)
        )
        return start, extent

    def largest(self) -> tuple[int, ...]:
        """Return the shape of the first slab: none is larger."""
        return self.at((0,) * len(self.shape))[1]
