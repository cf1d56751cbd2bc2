"""A plan as values: passes, operands, stages, results. made by `planner`, laid out by `workspace`, run by `machine`.

Everything that has axes counts them in the order of its pass's domain unless it says "as the user sees them".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from arraymill_proto.graph import ArrayType, Order, Shape
from arraymill_server.ops.spec import ReduceSpec, ScanSpec
from arraymill_server.plan.domain import Block, Domain
from arraymill_server.plan.program import Program


@dataclass(frozen=True, slots=True)
class Stream:
    """An operand that comes from the client, region by region."""

    number: int
    """Number of the input."""
    order: Order
    """The order of its axes (as the user sees them) in which its bytes are counted."""
    nbytes: int
    held: bool
    """True: kept whole in the workspace, each region asked for once. False: in slots, for every block or batch anew."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A range of an input's bytes."""

    number: int
    """Number of the input."""
    offset: int
    """Bytes, the input's axes taken in `order`."""
    nbytes: int
    order: Order


@dataclass(frozen=True, slots=True)
class Fixed:
    """An operand that lies in the arena: a resident array or a slice of one."""

    offset: int
    """Arena offset of its element (0, …, 0)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An operand that an earlier pass of this job left whole in the workspace."""

    node: int


Source: TypeAlias = Stream | Fixed | Kept


@dataclass(frozen=True, slots=True)
class Operand:
    """An array that blocks read."""

    node: int
    dtype: np.dtype[np.generic]
    """With its byte order."""
    source: Source
    shape: Shape
    """As many dimensions as the domain, 1 where it broadcasts."""
    strides: tuple[int, ...]
    """Bytes; 0 where the length is 1."""

    def region_shape(self, block: Block) -> Shape:
        """Shape of the part that a block reads."""
        return tuple(1 if own == 1 else length for own, length in zip(self.shape, block.shape, strict=True))

    def region_offset(self, block: Block) -> int:
        """Bytes from the operand's element (0, …, 0) to the part that a block reads."""
        return sum(start * stride for start, stride in zip(block.start, self.strides, strict=True))

    def region_bytes(self, block: Block) -> int:
        return prod(self.region_shape(block)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ResidentView:
    """What the planner knows of a resident array, or of a slice of one. Axes as the user sees them."""

    offset: int
    shape: Shape
    strides: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class OperandRef:
    """A stage's operand: one of the pass's operands."""

    index: int


@dataclass(frozen=True, slots=True)
class ScannedRef:
    """A stage's operand: the block that a scan of an earlier stage left in the slot."""

    scan: int


@dataclass(frozen=True, slots=True)
class CarryRef:
    """A stage's operand: the carry of a scan into this block."""

    scan: int


Ref: TypeAlias = OperandRef | ScannedRef | CarryRef


@dataclass(frozen=True, slots=True)
class Stage:
    """A program and what its operands and sinks are. Stages of a block run one after the other."""

    program: Program
    encoded: bytes
    digest: bytes
    operands: tuple[Ref, ...]
    stores: tuple[int, ...]
    """The pass's stores that the program's sinks fill, in the order of its sinks; before the reductions."""
    reductions: tuple[int, ...]
    scans: tuple[int, ...]
    """The pass's scans that this stage begins: after the reductions."""

    def renumbered(self, places: Mapping[int, int]) -> Stage:
        """Replace numbers of roots by places among the pass's stores and reductions."""
        stores = tuple(places[number] for number in self.stores)
        return replace(self, stores=stores, reductions=tuple(places[number] for number in self.reductions))


@dataclass(frozen=True, slots=True)
class ResultSpec:
    """Where and how a value is left: its type as the user sees it, and its memory order."""

    node: int
    type: ArrayType
    order: Order
    """Order of its axes, as the user sees them, in memory and on the wire."""
    outputs: tuple[int, ...]
    """The job's outputs that it is."""
    whole: bool
    """True: it is collected in an area of the workspace (or in a new resident array). False: sent part by part."""
    strides: tuple[int, ...]
    """Bytes between elements along the axes of the domain; 0 where it is reduced. A flat scan lies there as its domain
    does in C order."""

    @property
    def nbytes(self) -> int:
        return self.type.nbytes

    def part_offset(self, block: Block) -> int:
        """Bytes from the start of the value to the part that a block, or its cell, becomes."""
        return sum(start * stride for start, stride in zip(block.start, self.strides, strict=True))


@dataclass(frozen=True, slots=True)
class Part:
    """A contiguous part of a result that lies in the arena."""

    offset: int
    """Bytes from the start of the result, its axes in its own order."""
    nbytes: int
    address: int


@dataclass(frozen=True, slots=True)
class StorePlan:
    """A root that is stored block by block."""

    result: ResultSpec


@dataclass(frozen=True, slots=True)
class ReducePlan:
    """A root that is reduced."""

    result: ResultSpec
    spec: ReduceSpec
    components: tuple[np.dtype[np.generic], ...]
    inner: tuple[int, ...]
    """Split axes that are reduced: blocks that differ only in them share a cell."""
    blocks_per_cell: int
    open_cells: int
    count: int
    """Elements reduced into each result."""
    cell_elements: int
    """Most elements of one block's partial."""

    def cell_shape(self, block: Block) -> Shape:
        """Shape of the partial of a block, and of the part of the result that its cell becomes."""
        return tuple(1 if axis in self.spec.axes else length for axis, length in enumerate(block.shape))

    @property
    def part_bytes(self) -> int:
        """Bytes of one partial, its components one after the other, each aligned."""
        return sum(align(self.cell_elements * dtype.itemsize) for dtype in self.components)


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """A scan that runs through the blocks of a pass."""

    node: int
    spec: ScanSpec
    dtype: np.dtype[np.generic]
    components: tuple[np.dtype[np.generic], ...]
    inner: tuple[int, ...]
    """The scanned axis, if blocks are cut along it."""
    open_chains: int
    carry_elements: int
    """Most elements of one block's carry."""

    def carry_shape(self, block: Block) -> Shape:
        if self.spec.flat:
            return (1,) * len(block.shape)
        return tuple(1 if axis == self.spec.axis else length for axis, length in enumerate(block.shape))

    @property
    def carry_bytes(self) -> int:
        return sum(align(self.carry_elements * dtype.itemsize) for dtype in self.components)


@dataclass(frozen=True, slots=True)
class PassPlan:
    """One walk over the blocks of a domain."""

    domain: Domain
    operands: tuple[Operand, ...]
    stages: tuple[Stage, ...]
    stores: tuple[StorePlan, ...]
    reductions: tuple[ReducePlan, ...]
    scans: tuple[ScanPlan, ...]
    batch: int = 1
    """Blocks that one task computes at most, a power of two; see `batches`."""

    @property
    def is_streamed(self) -> bool:
        """Whether blocks wait for what comes from the client."""
        return any(isinstance(operand.source, Stream) for operand in self.operands)

    @property
    def results(self) -> tuple[ResultSpec, ...]:
        return (*(store.result for store in self.stores), *(reduction.result for reduction in self.reductions))


@dataclass(frozen=True, slots=True)
class JobPlan:
    """All passes of a job, in the order in which they run."""

    passes: tuple[PassPlan, ...]
    outputs: tuple[ResultSpec, ...]
    """One per output of the job."""
    held: tuple[tuple[int, int], ...]
    """Inputs that are held whole: number and bytes."""
    keep: bool
    """True when every output is left in a new resident array of its own."""

    @property
    def blocks(self) -> int:
        return sum(len(step.domain) for step in self.passes)


ALIGNMENT = 64
"""Bytes: the cache line, and the widest vector register."""


def align(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
