"""The blocks of one pass: see `machine` for their life and its rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod

from arraymill_server.plan.absorb import Absorber, Counter
from arraymill_server.plan.batches import batch_at
from arraymill_server.plan.carry import Chains
from arraymill_server.plan.domain import Block
from arraymill_server.plan.host import Host
from arraymill_server.plan.model import (
    CarryRef,
    Fixed,
    Kept,
    Operand,
    OperandRef,
    Part,
    PassPlan,
    Ref,
    ScannedRef,
    Stage,
    StorePlan,
    Wanted,
)
from arraymill_server.plan.program import BatchTask, BlockTask, MergeTask, Region
from arraymill_server.plan.regions import contiguous, parts
from arraymill_server.plan.workspace import PassLayout


@dataclass(slots=True)
class BlockState:
    """One block in flight."""

    number: int
    block: Block
    slot: int
    waiting: int = 0
    """Regions that have not arrived."""
    stage: int = 0
    partials: list[int] = field(default_factory=list[int])
    """The partial buffer of each reduction."""
    carries: dict[int, int] = field(default_factory=dict[int, int])
    """The carry buffer into this block, by scan."""
    sends: int = 0
    """Results on their way out of the slot."""
    totals: int = 0
    """Totals of scans in the slot that the next carry still needs."""
    absorbed: bool = False
    blocks: int = 1
    """It and those behind it that one task computes."""
    head: Block | None = None
    """The first block of its batch, whose operands lie at the start of the slot; None: it is that itself."""


class PassMachine:
    """Moves the blocks of a pass through their life."""

    def __init__(self, plan: PassPlan, layout: PassLayout, base: int, host: Host) -> None:
        self._plan = plan
        self._layout = layout
        self._base = base
        self._host = host
        self._free = list(range(layout.slots.count))[::-1]
        self._next = 0
        self._absorber = Absorber(plan, layout, base, host)
        self._chains = Chains(plan, layout, base, host)
        self.blocks_done = 0

    @property
    def is_finished(self) -> bool:
        return self.blocks_done == len(self._plan.domain) and not self._absorber.is_sending

    def start(self) -> None:
        if not self.is_finished:  # a pass over nothing has no memory
            self._chains.start()

    def go_on(self) -> None:
        """Begin blocks while slots are free."""
        while self._free and self._next < len(self._plan.domain):
            block, slot = self._plan.domain.block(self._next), self._free.pop()
            state = BlockState(self._next, block, slot, blocks=batch_at(self._next, self._plan, self._layout.batch))
            self._next += state.blocks
            self._begin(state)

    # ------------------------------------------------------------------ the life of a block

    def _begin(self, state: BlockState) -> None:
        if state.blocks == 1:
            state.partials = self._absorber.take_buffers()
        state.waiting = 1
        for number, operand in enumerate(self._plan.operands):
            if not isinstance(operand.source, Fixed | Kept) and not self._load(state, number, operand):
                state.waiting += 1
        self._arrived(state)

    def _load(self, state: BlockState, number: int, operand: Operand) -> bool:
        """Ask for the region of a streamed operand; True when it is there already."""
        source = operand.source
        assert not isinstance(source, Fixed | Kept)
        offset = operand.region_offset(state.block)
        nbytes = sum(operand.region_bytes(block) for block in self._blocks(state))
        wanted, then = Wanted(source.number, offset, nbytes, source.order), partial(self._arrived, state)
        if source.held:
            return self._host.hold(wanted, then)
        self._host.fetch(wanted, self._slot_address(state) + self._layout.slot.operands[number], then)
        return False

    def _arrived(self, state: BlockState) -> None:
        state.waiting -= 1
        if state.waiting:
            return
        if state.blocks > 1:
            self._run_batch(state)
        else:
            self._run_stage(state)

    def _run_stage(self, state: BlockState) -> None:
        stage = self._plan.stages[state.stage]
        self._host.dispatch(self._block_task(state, stage), partial(self._stage_done, state))

    def _block_task(self, state: BlockState, stage: Stage) -> BlockTask:
        return BlockTask(
            program=self._host.program(state.stage),
            start=state.block.start,
            shape=state.block.shape,
            operands=tuple(self._operand_region(state, ref) for ref in stage.operands),
            outputs=tuple(self._outputs(state, stage)),
        )

    def _blocks(self, state: BlockState) -> list[Block]:
        """Return it and those behind it that one task computes."""
        more = range(state.number + 1, state.number + state.blocks)
        return [state.block, *(self._plan.domain.block(number) for number in more)]

    def _run_batch(self, first: BlockState) -> None:
        """Compute some blocks, and merge their partials as the absorber would: as a binary counter counts them."""
        (stage,) = self._plan.stages
        counters = [Counter(self._absorber, number, first.blocks) for number in range(len(self._plan.reductions))]
        tasks: list[BlockTask | MergeTask] = []
        for number, block in enumerate(self._blocks(first), first.number):
            state = BlockState(number, block, first.slot, head=first.block)
            state.partials = [counter.push() for counter in counters]
            tasks.append(self._block_task(state, stage))
            for counter in counters:
                tasks.extend(counter.merge(state.block))
        self._host.dispatch(BatchTask(tuple(tasks)), partial(self._batch_done, first, counters))

    def _batch_done(self, state: BlockState, counters: list[Counter]) -> None:
        state.partials = [counter.end() for counter in counters]
        then = partial(self._absorbed, state)
        self._absorber.computed(state.number, state.block, state.partials, then, state.blocks)

    def _stage_done(self, state: BlockState) -> None:
        stage = self._plan.stages[state.stage]
        for number in stage.stores:
            self._send_store(state, self._plan.stores[number], number)
        state.stage += 1
        if state.stage == len(self._plan.stages):
            self._chains.release(state.carries)
            self._absorber.computed(state.number, state.block, state.partials, partial(self._absorbed, state))
            return
        state.totals += len(stage.scans)
        carried, joined = partial(self._carried, state), partial(self._joined, state)
        for scan in stage.scans:
            self._chains.total_ready(scan, state.block, self._total_address(state, scan), carried, joined)

    def _carried(self, state: BlockState, scan: int, buffer: int) -> None:
        """The carry of a scan into this block is known."""
        state.carries[scan] = buffer
        begun = [scan for stage in self._plan.stages[: state.stage] for scan in stage.scans]
        if all(scan in state.carries for scan in begun):
            self._run_stage(state)

    def _joined(self, state: BlockState) -> None:
        state.totals -= 1
        self._release(state)

    def _absorbed(self, state: BlockState) -> None:
        state.absorbed = True
        self._release(state)

    def _release(self, state: BlockState) -> None:
        if state.absorbed and not state.sends and not state.totals:
            self.blocks_done += state.blocks
            self._free.append(state.slot)

    # ------------------------------------------------------------------ results

    def _send_store(self, state: BlockState, store: StorePlan, number: int) -> None:
        if store.result.whole:
            return
        state.sends += 1
        address = self._slot_address(state) + self._layout.slot.stores[number]
        nbytes = prod(state.block.shape) * store.result.type.dtype.itemsize
        part = Part(store.result.part_offset(state.block), nbytes, address)
        self._host.send(store.result, part, partial(self._sent, state))

    def _sent(self, state: BlockState) -> None:
        state.sends -= 1
        self._release(state)

    # ------------------------------------------------------------------ memory

    def _slot_address(self, state: BlockState) -> int:
        return self._base + self._layout.slots.address(state.slot)

    def _total_address(self, state: BlockState, scan: int) -> int:
        return self._slot_address(state) + self._layout.slot.totals[scan]

    def _operand_region(self, state: BlockState, ref: Ref) -> Region:
        if isinstance(ref, OperandRef):
            operand = self._plan.operands[ref.index]
            address = self._operand_address(state, ref.index, operand)
            return Region(address, operand.region_shape(state.block), operand.strides)
        if isinstance(ref, ScannedRef):
            scan = self._plan.scans[ref.scan]
            address = self._slot_address(state) + self._layout.slot.scanned[ref.scan]
            return contiguous(address, state.block.shape, scan.dtype.itemsize)
        assert isinstance(ref, CarryRef)
        return self._chains.regions(ref.scan, state.block, state.carries[ref.scan])[-1]

    def _operand_address(self, state: BlockState, number: int, operand: Operand) -> int:
        source = operand.source
        if isinstance(source, Fixed):
            return source.offset + operand.region_offset(state.block)
        if isinstance(source, Kept):
            return self._host.value_address(source.node) + operand.region_offset(state.block)
        if source.held:
            return self._host.held_address(source.number) + operand.region_offset(state.block)
        before = operand.region_offset(state.block) - operand.region_offset(state.head or state.block)
        return self._slot_address(state) + self._layout.slot.operands[number] + before

    def _outputs(self, state: BlockState, stage: Stage) -> Iterator[tuple[Region, ...]]:
        for number in stage.stores:
            yield (self._store_region(state, number),)
        for number in stage.reductions:
            yield self._absorber.regions(number, state.block, state.partials[number])
        for number in stage.scans:
            scan = self._plan.scans[number]
            address = self._slot_address(state) + self._layout.slot.scanned[number]
            scanned = contiguous(address, state.block.shape, scan.dtype.itemsize)
            total = self._total_address(state, number)
            yield (scanned, *parts(total, scan.carry_shape(state.block), scan.components, scan.carry_elements))

    def _store_region(self, state: BlockState, number: int) -> Region:
        result, shape = self._plan.stores[number].result, state.block.shape
        if not result.whole:
            address = self._slot_address(state) + self._layout.slot.stores[number]
            return contiguous(address, shape, result.type.dtype.itemsize)
        address = self._host.value_address(result.node) + result.part_offset(state.block)
        return Region(address, shape, result.strides)
