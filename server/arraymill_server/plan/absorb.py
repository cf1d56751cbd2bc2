"""Partials into results: the fixed order in which a pass merges, and the finish of its cells.

Blocks are absorbed in the order of their numbers. Within a cell, partials meet in a binary tree over the blocks of the
cell, as carries ripple through a binary counter: a stack holds partials of 2ᵏ blocks each, and equal neighbours merge.
Large partials are chained instead (`workspace.CHAIN_BYTES`). When the last block of a cell is in, what is left on the
stack merges from the right, and the cell is finished into the result.

Absorption is a generator: it yields a task and goes on when the task is done, or yields None when it must wait for a
buffer that is being sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Final

from arraymill_server.plan.domain import Block
from arraymill_server.plan.host import Host
from arraymill_server.plan.model import Part, PassPlan, ReducePlan
from arraymill_server.plan.program import FinishTask, MergeTask, Region, Task
from arraymill_server.plan.regions import Buffers, contiguous, parts
from arraymill_server.plan.workspace import PassLayout, is_chained

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

    def computed(self, number: int, block: Block, buffers: list[int], then: Then) -> None:
        """Hand over a computed block; `then` is called when its partials are absorbed."""
        self._computed[number] = _Computed(block, buffers, then)
        self._drive()

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
                self._next += 1
                self._computed.pop(self._next - 1).then()
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
            cell.stack.append((buffer, 1))
            cell.seen += 1
            complete = cell.seen == plan.blocks_per_cell
            while len(cell.stack) > 1 and (complete or self._is_due(plan, cell)):
                yield from self._merge(number, cell, computed.block)
            if complete:
                del self._cells[number][key]
                yield from self._finish(number, cell.stack[0][0], computed.block)

    def _is_due(self, plan: ReducePlan, cell: _Cell) -> bool:
        return is_chained(plan) or cell.stack[-1][1] == cell.stack[-2][1]

    def _merge(self, number: int, cell: _Cell, block: Block) -> Iterator[Task]:
        right, right_blocks = cell.stack.pop()
        left, left_blocks = cell.stack.pop()
        buffers, out = self._buffers[number], self._buffers[number].take()
        yield MergeTask(
            self._plan.reductions[number].spec,
            self.regions(number, block, left),
            self.regions(number, block, right),
            self.regions(number, block, out),
        )
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
