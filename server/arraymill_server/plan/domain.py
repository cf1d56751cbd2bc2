"""The geometry of a pass: its domain, the order of its axes, its blocks, and the cells that blocks share.

A *domain* is the shape that a pass walks. Its axes are taken in an *order*, the one in which most of the bytes that the
pass reads lie in memory, so that blocks are contiguous for Fortran-ordered arrays too. Everything behind this module
counts axes in that order.

A reduction over some of the split axes sends all blocks that differ only in those axes into one *cell* of its result.
Blocks are numbered so that the blocks of a cell follow each other where cells are large (the memory for open cells
stays bounded), and in plain C order where they are small. Both depend on shape, dtype and operation only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from arraymill_proto.graph import Order, Shape
from arraymill_server.plan.blocks import Grid

OPEN_CELL_BYTES: Final = 4 << 20
"""Partials of open cells that a pass may hold to keep its blocks in C order; one block more or less does not matter."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a domain, axes in the domain's order."""

    index: tuple[int, ...]
    """Its place along the split axes."""
    start: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """The shape that a pass walks, cut into blocks."""

    shape: Shape
    """Axes as the user sees them."""
    order: Order
    """The user's axes, slowest first."""
    grid: Grid
    """The cut of the shape with its axes taken in `order`."""
    sequence: tuple[int, ...]
    """Split axes, outermost loop first: how blocks are numbered."""

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.grid)

    def block(self, number: int) -> Block:
        counts = self.grid.counts
        index = [0] * len(counts)
        for axis in reversed(self.sequence):
            number, index[axis] = divmod(number, counts[axis])
        start, shape = self.grid.at(tuple(index))
        return Block(tuple(index), start, shape)

    def with_sequence(self, sequence: tuple[int, ...]) -> Domain:
        return Domain(self.shape, self.order, self.grid, sequence)


def c_order(ndim: int) -> Order:
    return tuple(range(ndim))


def natural(grid: Grid) -> tuple[int, ...]:
    """The sequence that numbers blocks in C order."""
    return tuple(range(len(grid.counts)))


def split_axes(grid: Grid, axes: Iterable[int]) -> tuple[int, ...]:
    """Those of some axes along which the grid is cut into more than one block."""
    return tuple(axis for axis in sorted(axes) if axis < len(grid.counts) and grid.counts[axis] > 1)


def open_cells(grid: Grid, sequence: Sequence[int], inner: Sequence[int]) -> int:
    """How many cells are begun and not complete at once when blocks come in sequence."""
    if not inner:
        return 1
    first = min(sequence.index(axis) for axis in inner)
    return prod(grid.counts[axis] for axis in sequence[first:] if axis not in inner)


def choose_sequence(grid: Grid, inner: Sequence[int], cell_bytes: int) -> tuple[int, ...]:
    """Number blocks in C order if the open cells fit their bound, else cell by cell."""
    plain = natural(grid)
    if open_cells(grid, plain, inner) * cell_bytes <= OPEN_CELL_BYTES:
        return plain
    return (*(axis for axis in plain if axis not in inner), *inner)


def blocks_per_cell(grid: Grid, inner: Sequence[int]) -> int:
    return prod(grid.counts[axis] for axis in inner)


def widen(order: Order, ndim: int) -> Order:
    """Extend an order of trailing axes to a broadcast shape of `ndim` dimensions."""
    missing = ndim - len(order)
    return (*range(missing), *(missing + axis for axis in order))


def narrow(order: Order, ndim: int) -> Order:
    """Restrict an order of a broadcast shape to its `ndim` trailing axes."""
    missing = len(order) - ndim
    return tuple(axis - missing for axis in order if axis >= missing)


def choose_order(ndim: int, preferences: Iterable[tuple[Order, int]]) -> Order:
    """The order that most bytes prefer; C order when there are none.

    Args:
        ndim: Dimensions of the domain.
        preferences: Orders of arrays that broadcast to the domain, and their bytes.
    """
    votes: dict[Order, int] = {}
    for order, nbytes in preferences:
        wide = widen(order, ndim)
        votes[wide] = votes.get(wide, 0) + nbytes
    return max(votes, key=votes.__getitem__) if votes else c_order(ndim)


def strides_in(shape: Shape, order: Order, itemsize: int) -> tuple[int, ...]:
    """Byte strides, by the user's axes, of an array stored contiguously with its axes in `order`."""
    strides = [0] * len(shape)
    step = itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def spread(values: Sequence[int], order: Order, fill: int) -> tuple[int, ...]:
    """Give per-axis values of a broadcast operand one entry per axis of the domain, in the domain's order."""
    missing = len(order) - len(values)
    return tuple(fill if axis < missing else values[axis - missing] for axis in order)
