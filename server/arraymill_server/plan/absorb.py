"""Partials into results: the fixed order in which a pass merges, and the finish of its cells.

Blocks are absorbed in the order of their numbers. Within a cell, partials meet in a binary tree over the blocks of the
cell, as carries ripple through a binary counter: a stack holds partials of 2ᵏ blocks each, and equal neighbours merge.
Large partials are chained instead (`workspace.CHAIN_BYTES`). When the last block of a cell is in, what is left on the
stack merges from the right, and the cell is finished into the result.

Absorption is a generator: it yields a task and goes on when the task is done, or yields None when it must wait for a
buffer that is being sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Final

from arraymill_server.plan.domain import Block
from arraymill_server.plan.host import Host
from arraymill_server.plan.model import Part, PassPlan, ReducePlan
from arraymill_server.plan.program import FinishTask, MergeTask, Region, Task
from arraymill_server.plan.regions import Buffers, contiguous, parts
from arraymill_server.plan.workspace import PassLayout, batch_buffers, is_chained

INLINE_BYTES: Final = 16 << 10
"""Partials up to here are merged on the event loop: some 5 µs, where a dispatch costs 60."""

Then = Callable[[], None]


@dataclass(slots=True)
class _Cell:
    """The part of a result that some blocks share."""

    stack: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Buffers and how many blocks each stands for; earlier blocks below."""
    seen: int = 0


@dataclass(frozen=True, slots=True)
class _Computed:
    block: Block
    buffers: list[int]
    then: Then
    count: int
    """Blocks that it stands for."""


class Absorber:
    """Absorbs the partials of a pass."""

    def __init__(self, plan: PassPlan, layout: PassLayout, base: int, host: Host) -> None:
        self._plan = plan
        self._layout = layout
        self._base = base
        self._host = host
        self._buffers = [Buffers(pool.count) for pool in layout.partials]
        self._finished = [Buffers(pool.count) for pool in layout.finished]
        self._cells: list[dict[tuple[int, ...], _Cell]] = [{} for _ in plan.reductions]
        self._computed: dict[int, _Computed] = {}
        self._next = 0
        self._running: Iterator[Task | None] | None = None
        self._is_working = False
        """True while a merge or finish runs on the engine."""
        self._lacks_buffer = False
        """True while the next cell waits for a buffer that is being sent."""
        self._sends = 0

    @property
    def is_sending(self) -> bool:
        """True while parts of results are on their way out."""
        return self._sends > 0

    def take_buffers(self) -> list[int]:
        """Take a partial buffer per reduction for a new block."""
        return [buffers.take() for buffers in self._buffers]

    def regions(self, number: int, block: Block, buffer: int) -> tuple[Region, ...]:
        """The components of a block's partial in a buffer."""
        plan = self._plan.reductions[number]
        address = self._base + self._layout.partials[number].address(buffer)
        return parts(address, plan.cell_shape(block), plan.components, plan.cell_elements)

    def computed(self, number: int, block: Block, buffers: list[int], then: Then, count: int = 1) -> None:
        """Hand over a computed block, or the first of a merged batch; `then` is called when it is absorbed."""
        self._computed[number] = _Computed(block, buffers, then, count)
        self._drive()

    def take_several(self, number: int, count: int) -> list[int]:
        """Take partial buffers of one reduction."""
        return [self._buffers[number].take() for _ in range(count)]

    def give_buffers(self, number: int, buffers: Iterable[int]) -> None:
        """Give back partial buffers of a reduction."""
        for buffer in buffers:
            self._buffers[number].give(buffer)

    # ------------------------------------------------------------------ the order

    def _drive(self) -> None:
        while not (self._is_working or self._lacks_buffer):
            if self._running is None:
                if self._next not in self._computed:
                    return
                self._running = self._absorb(self._computed[self._next])
            try:
                task = next(self._running)
            except StopIteration:
                self._running = None
                ended = self._computed.pop(self._next)
                self._next += ended.count
                ended.then()
                continue
            if task is None:
                self._lacks_buffer = True
            elif self._is_small(task):
                self._host.compute(task)
            else:
                self._is_working = True
                self._host.dispatch(task, self._worked)

    def _worked(self) -> None:
        self._is_working = False
        self._drive()

    def _is_small(self, task: Task) -> bool:
        regions = task.left if isinstance(task, MergeTask) else task.parts if isinstance(task, FinishTask) else ()
        return sum(prod(region.shape) for region in regions) * 16 <= INLINE_BYTES

    # ------------------------------------------------------------------ one block

    def _absorb(self, computed: _Computed) -> Iterator[Task | None]:
        for number, buffer in enumerate(computed.buffers):
            plan = self._plan.reductions[number]
            key = tuple(i for axis, i in enumerate(computed.block.index) if axis not in plan.inner)
            cell = self._cells[number].setdefault(key, _Cell())
            cell.stack.append((buffer, computed.count))
            cell.seen += computed.count
            complete = cell.seen == plan.blocks_per_cell
            while len(cell.stack) > 1 and (complete or self._is_due(plan, cell)):
                yield from self._merge(number, cell, computed.block)
            if complete:
                del self._cells[number][key]
                yield from self._finish(number, cell.stack[0][0], computed.block)

    def _is_due(self, plan: ReducePlan, cell: _Cell) -> bool:
        return is_chained(plan) or cell.stack[-1][1] == cell.stack[-2][1]

    def merge_task(self, number: int, block: Block, left: int, right: int, out: int) -> MergeTask:
        """Return the task that merges two partials of a reduction, by their buffers."""
        return MergeTask(
            self._plan.reductions[number].spec,
            self.regions(number, block, left),
            self.regions(number, block, right),
            self.regions(number, block, out),
        )

    def _merge(self, number: int, cell: _Cell, block: Block) -> Iterator[Task]:
        right, right_blocks = cell.stack.pop()
        left, left_blocks = cell.stack.pop()
        buffers, out = self._buffers[number], self._buffers[number].take()
        yield self.merge_task(number, block, left, right, out)
        buffers.give(left)
        buffers.give(right)
        cell.stack.append((out, left_blocks + right_blocks))

    def _finish(self, number: int, buffer: int, block: Block) -> Iterator[Task | None]:
        plan = self._plan.reductions[number]
        shape, result = plan.cell_shape(block), plan.result
        offset = result.part_offset(block)
        source = self.regions(number, block, buffer)
        if result.whole:
            region = Region(self._host.value_address(result.node) + offset, shape, result.strides)
            yield FinishTask(plan.spec, plan.count, source, region)
            self._buffers[number].give(buffer)
            return
        while (out := self._finished[number].take_nowait()) is None:
            yield None
        address = self._base + self._layout.finished[number].address(out)
        itemsize = result.type.dtype.itemsize
        yield FinishTask(plan.spec, plan.count, source, contiguous(address, shape, itemsize))
        self._buffers[number].give(buffer)
        part = Part(offset, prod(shape) * itemsize, address)
        self._sends += 1
        self._host.send(result, part, lambda: self._sent(number, out))

    def _sent(self, number: int, out: int) -> None:
        self._finished[number].give(out)
        self._sends -= 1
        self._lacks_buffer = False
        self._drive()


class Counter:
    """The partials of one reduction within a batch: a binary counter of their number, in buffers of its own."""

    def __init__(self, absorber: Absorber, number: int, blocks: int) -> None:
        self._absorber = absorber
        self._number = number
        self._free = absorber.take_several(number, batch_buffers(blocks))
        self._stack: list[tuple[int, int]] = []

    def push(self) -> int:
        """Return the buffer for the partial of the next block."""
        self._stack.append((self._free.pop(), 1))
        return self._stack[-1][0]

    def merge(self, block: Block) -> Iterator[MergeTask]:
        """Merge equal neighbours, as after every block."""
        while len(self._stack) > 1 and self._stack[-1][1] == self._stack[-2][1]:
            (left, blocks), (right, _) = self._stack[-2:]
            out = self._free.pop()
            yield self._absorber.merge_task(self._number, block, left, right, out)
            self._stack[-2:] = [(out, 2 * blocks)]
            self._free += (left, right)

    def end(self) -> int:
        """Give back all buffers but that of the merged partial, which is returned."""
        ((last, _),) = self._stack
        self._absorber.give_buffers(self._number, self._free)
        return last
