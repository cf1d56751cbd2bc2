"""Which bytes of the arena are free: the allocator, without any memory.

Theory of operation. Free memory is a list of extents sorted by offset; no two of them touch, because `give` joins
neighbours at once. Short-lived memory (workspaces of jobs) is taken from the low end, first fit; long-lived memory
(resident arrays) from the high end, last fit. So what stays for hours does not lie between what comes and goes, and the
hole in the middle stays large.

A plain list is enough: there is at most one more free extent than taken ones, and those are a few hundred (running jobs
are bounded, most residents lie side by side), so a search is a scan of some microseconds. A tree would win above
10,000 free extents, which admission never lets happen.

Rejected: a buddy allocator (it rounds sizes up to powers of two, and an arena is too precious for that); size classes
(block sizes depend on shape and dtype, they have no classes).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

ALIGNMENT: Final = 4096
"""Extents start and end on pages: two leases never share a cache line or a page, every dtype is aligned for SIMD, and a
later lane may map an extent by itself (mmap offsets are whole pages)."""


class Extent(NamedTuple):
    """A contiguous range of bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class ExtentError(RuntimeError):
    """An extent was given back that is not taken: a bug of the caller, never the user's fault."""


class Extents:
    """The free and the taken ranges of `size` bytes.

    Args:
        size: Bytes that are managed; a multiple of `alignment`.
        alignment: Offsets and sizes of all extents are multiples of this power of two.
    """

    def __init__(self, size: int, alignment: int = ALIGNMENT) -> None:
        if size <= 0 or size % alignment:
            raise ValueError(f"size must be a positive multiple of {alignment:,} bytes, not {size:,}")
        self.size: Final = size
        self.alignment: Final = alignment
        self._free_list = [Extent(0, size)]
        self._taken: dict[int, int] = {}
        self._free = size
        self._largest: int | None = size
        """Remembered, because those who wait for memory ask more often than it changes; None: count again."""

    def __repr__(self) -> str:
        return (
            f"<Extents {self.size:,} bytes: {self._free:,} free in {len(self._free_list)} pieces, "
            f"{len(self._taken)} taken>"
        )

    @property
    def free(self) -> int:
        """Bytes that are not taken."""
        return self._free

    @property
    def largest_free(self) -> int:
        """Bytes of the largest extent that could be taken now."""
        if self._largest is None:
            self._largest = max((extent.size for extent in self._free_list), default=0)
        return self._largest

    def aligned(self, size: int) -> int:
        """Return the bytes that an extent of `size` bytes takes; an empty one takes a page, to have a place."""
        return max(-(-size // self.alignment), 1) * self.alignment

    def take(self, size: int, *, top: bool = False, floor: int = 0) -> Extent | None:
        """Take an extent of at least `size` bytes.

        Args:
            size: Bytes; rounded up to the alignment.
            top: Take it from the high end (the highest place that fits) instead of the low end (the lowest).
            floor: Only from this offset on.

        Returns:
            The extent, or None when no free extent is large enough.
        """
        size, floor = self.aligned(size), -(-floor // self.alignment) * self.alignment
        order = range(len(self._free_list))
        for index in reversed(order) if top else order:
            start, end = max(self._free_list[index].offset, floor), self._free_list[index].end
            if end - start >= size:
                return self._carve(index, Extent(end - size if top else start, size))
        return None

    def claim(self, extent: Extent) -> None:
        """Take exactly this extent, which must be free."""
        index = bisect_left(self._free_list, (extent.offset + 1,)) - 1
        if index < 0 or extent.end > self._free_list[index].end:
            raise ExtentError(f"{extent} is not free in {self!r}")
        self._carve(index, extent)

    def give(self, extent: Extent) -> None:
        """Give back what `take` or `claim` returned; it is joined with free neighbours."""
        if self._taken.get(extent.offset) != extent.size:
            raise ExtentError(f"{extent} is not taken in {self!r}")
        del self._taken[extent.offset]
        self._free += extent.size
        self._largest = None
        start, end = extent.offset, extent.end
        low = high = bisect_left(self._free_list, extent)
        if high < len(self._free_list) and self._free_list[high].offset == end:
            end = self._free_list[high].end
            high += 1
        if low > 0 and self._free_list[low - 1].end == start:
            low -= 1
            start = self._free_list[low].offset
        self._free_list[low:high] = [Extent(start, end - start)]

    def split(self, extent: Extent, sizes: Sequence[int]) -> list[Extent]:
        """Cut what `take` or `claim` returned into parts that are given back one by one.

        Args:
            extent: What is cut.
            sizes: Bytes of each part, lowest first: aligned, and together as many as the extent has.
        """
        if self._taken.get(extent.offset) != extent.size or sum(sizes) != extent.size:
            raise ExtentError(
                f"{extent} is not taken in {self!r}, or has no {len(sizes)} parts of {sum(sizes):,} bytes"
            )
        offsets = accumulate(sizes, initial=extent.offset)
        parts = [Extent(offset, size) for offset, size in zip(offsets, sizes, strict=False)]
        self._taken.update(parts)
        return parts

    def check(self) -> None:
        """Assert the invariants; for tests."""
        free = self._free_list
        taken = [Extent(offset, size) for offset, size in self._taken.items()]
        cursor = 0
        for extent in sorted(free + taken):
            assert extent.size > 0, f"{extent} is empty"
            assert extent.offset == cursor, f"{extent} overlaps its neighbour or leaves a gap at {cursor}"
            assert extent.offset % self.alignment == extent.size % self.alignment == 0, f"{extent} is not aligned"
            cursor = extent.end
        assert cursor == self.size, f"extents end at {cursor}, not at {self.size}"
        assert free == sorted(free), "free extents are out of order"
        assert all(a.end < b.offset for a, b in pairwise(free)), "free neighbours were not joined"
        assert self.largest_free == max((extent.size for extent in free), default=0), "the largest extent is wrong"
        assert self._free == sum(extent.size for extent in free), "the count of free bytes is wrong"

    def _carve(self, index: int, extent: Extent) -> Extent:
        whole = self._free_list[index]
        before = Extent(whole.offset, extent.offset - whole.offset)
        after = Extent(extent.end, whole.end - extent.end)
        self._free_list[index : index + 1] = [rest for rest in (before, after) if rest.size]
        self._taken[extent.offset] = extent.size
        self._free -= extent.size
        self._largest = None
        return extent
