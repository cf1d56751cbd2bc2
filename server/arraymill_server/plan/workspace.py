"""Where everything of a job lies in its workspace: static offsets, decided once from the plan and a depth.

A workspace is one extent of the arena::

    ┌ programs ┬ held inputs ┬ values kept between passes, whole results ┬ area of the running pass ─────────────┐
    │          │             │                                           │ slot 0, slot 1, … │ pools of partials │
    └──────────┴─────────────┴───────────────────────────────────────────┴───────────────────────────────────────┘

A *slot* holds everything of one block in flight: regions of its streamed operands, its scanned blocks, totals and its
stored results; where blocks are asked for in batches, of one batch. The *depth* is the number of blocks in all slots:
one is enough to make progress, more hide the wire behind the work.
Because all memory of a job is taken at once, no job ever waits for memory while it holds some, so jobs cannot deadlock
on memory. Depth changes speed only, never a result.

Partials live in pools because they outlive their block: the merge of block n may wait for a later block.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from arraymill_server.plan.model import JobPlan, PassPlan, ReducePlan, ScanPlan, Stream, align

CHAIN_BYTES: Final = 64 << 10
"""Partials above this are merged one after the other, which needs one accumulator; below, in a binary tree, whose
rounding error grows with the logarithm of the number of blocks and which needs one partial per level."""

LEAST_SLOTS: Final = 2
"""Slots of a pass whose batches come from the client: one is filled while the other is computed."""

FINISH_BUFFERS: Final = 2
"""Parts of a result that may wait to be sent while the next cell is finished."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal buffers, one after the other."""

    offset: int
    buffer_bytes: int
    count: int

    def address(self, number: int) -> int:
        return self.offset + number * self.buffer_bytes


class _Cursor:
    """Hands out aligned offsets one after the other."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def take(self, nbytes: int) -> int:
        start = self.offset
        self.offset += align(nbytes)
        return start

    def pool(self, buffer_bytes: int, count: int) -> Pool:
        size = align(buffer_bytes)
        return Pool(self.take(size * count), size, count)


class SlotLayout:
    """Offsets of a block's things from the start of its slot.

    Args:
        plan: The pass.
        blocks: Blocks whose streamed operands lie in a slot, one behind the other.
    """

    def __init__(self, plan: PassPlan, blocks: int = 1) -> None:
        cursor = _Cursor()
        largest = plan.domain.block(0) if len(plan.domain) else None
        elements = prod(largest.shape) if largest else 0
        self.operands: dict[int, int] = {}
        for number, operand in enumerate(plan.operands):
            if isinstance(operand.source, Stream) and not operand.source.held and largest:
                self.operands[number] = cursor.take(blocks * operand.region_bytes(largest))
        self.scanned = tuple(cursor.take(elements * scan.dtype.itemsize) for scan in plan.scans)
        self.totals = tuple(cursor.take(scan.carry_bytes) for scan in plan.scans)
        self.stores: dict[int, int] = {}
        for number, store in enumerate(plan.stores):
            if not store.result.whole:
                self.stores[number] = cursor.take(elements * store.result.type.dtype.itemsize)
        self.nbytes = cursor.offset


class PassLayout:
    """Offsets of a pass at some depth, from the start of the workspace."""

    def __init__(self, plan: PassPlan, depth: int, start: int) -> None:
        cursor = _Cursor(start)
        depth = max(1, min(depth, len(plan.domain)))
        self.batch = min(plan.batch, _batch_within(depth)) if plan.is_streamed else plan.batch
        """Blocks that one task computes at most."""
        per_slot = self.batch if plan.is_streamed else 1
        count = depth // per_slot
        self.slot = SlotLayout(plan, per_slot)
        self.slots = cursor.pool(self.slot.nbytes, count)
        in_flight = count * batch_buffers(self.batch)
        self.partials = tuple(cursor.pool(r.part_bytes, _partials(r, in_flight)) for r in plan.reductions)
        self.finished = tuple(cursor.pool(*_finish_pool(r)) for r in plan.reductions)
        self.carries = tuple(cursor.pool(s.carry_bytes, _carries(s, count)) for s in plan.scans)
        self.end = cursor.offset


class JobLayout:
    """Offsets of everything of a job, from the start of its workspace."""

    def __init__(self, plan: JobPlan, depth: int) -> None:
        cursor = _Cursor()
        self.programs = tuple(tuple(cursor.take(len(stage.encoded)) for stage in p.stages) for p in plan.passes)
        self.held = {number: cursor.take(nbytes) for number, nbytes in plan.held}
        kept = {result.node for result in plan.outputs} if plan.keep else set[int]()
        whole = [result for step in plan.passes for result in step.results if result.whole and result.node not in kept]
        self.values = {result.node: cursor.take(result.nbytes) for result in whole}
        self.passes = tuple(PassLayout(step, depth, cursor.offset) for step in plan.passes)
        self.nbytes = max((step.end for step in self.passes), default=cursor.offset)


def deepest(plan: JobPlan) -> int:
    """The depth beyond which a plan has no more blocks to keep in flight."""
    return max((len(step.domain) for step in plan.passes), default=1)


def fit_depth(plan: JobPlan, wanted: int, nbytes: int) -> JobLayout:
    """The deepest layout, at most `wanted`, that fits into a workspace of some bytes; at least depth 1."""
    low, high = 1, max(1, wanted)
    while low < high:
        middle = (low + high + 1) // 2
        if JobLayout(plan, middle).nbytes <= nbytes:
            low = middle
        else:
            high = middle - 1
    return JobLayout(plan, low)


def is_chained(reduction: ReducePlan) -> bool:
    """True when partials are merged one after the other instead of in a tree."""
    return reduction.part_bytes > CHAIN_BYTES


def batch_buffers(blocks: int) -> int:
    """Buffers for the partials of a batch: those of a binary counter, and one to merge into; one for a single block."""
    return 1 if blocks == 1 else blocks.bit_length() + 1


def _batch_within(blocks: int) -> int:
    """Return the largest batch, a power of two, that fits LEAST_SLOTS times; 1 where none does."""
    return 1 << max(0, (blocks // LEAST_SLOTS).bit_length() - 1)


def _partials(reduction: ReducePlan, in_flight: int) -> int:
    """Buffers: those of blocks in flight, the open cells' stacks, and one to merge into."""
    levels = 1 if is_chained(reduction) else reduction.blocks_per_cell.bit_length()
    return in_flight + reduction.open_cells * levels + 1


def _finish_pool(reduction: ReducePlan) -> tuple[int, int]:
    if reduction.result.whole:
        return 0, 0
    return reduction.cell_elements * reduction.result.type.dtype.itemsize, FINISH_BUFFERS


def _carries(scan: ScanPlan, depth: int) -> int:
    """Buffers: the carry into each block in flight, the carry out of each open chain, and one for the identity."""
    return depth + scan.open_chains + 1
