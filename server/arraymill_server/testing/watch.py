"""Watches a simulated run: no task ever reads what another one writes, or what nobody has written.

The rules of `plan.program` and `plan.workspace` are checked byte by byte, for every instruction while it is under way:

1. What is being written is neither read nor written by anything else, the writer itself included.
2. What is read was written before, and has not been given up since.
3. What is given up is neither read nor written.

What is about to be written, and what is given up, is poisoned: whoever reads it all the same gets a wrong answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Send, Write
from arraymill_server.plan.model import JobPlan
from arraymill_server.plan.program import BatchTask, BlockTask, CarryTask, FinishTask, MergeTask, Program, Region, Task
from arraymill_server.plan.sinks import sink_dtypes
from arraymill_server.testing.arrays import POISON

Offsets = NDArray[np.intp]
Dtypes = Sequence[np.dtype[np.generic]]


class Watch:
    """Knows of every byte of a memory who reads it, who writes it, and whether it was written.

    Args:
        memory: The memory; poisoned here.
        plan: The plan that is run: its programs say how wide the elements of a region are.
    """

    def __init__(self, memory: NDArray[np.uint8], plan: JobPlan) -> None:
        memory.fill(POISON)
        self._memory = memory
        self._programs = {stage.digest: stage.program for step in plan.passes for stage in step.stages}
        self._readers = np.zeros(memory.size, np.int16)
        self._writers = np.zeros(memory.size, np.int16)
        self._written = np.zeros(memory.size, np.bool_)
        self._mark = np.zeros(memory.size, np.intp)

    def know(self, start: int, data: NDArray[np.uint8]) -> None:
        """Put bytes into the memory that lay there before the run."""
        self._memory[start : start + data.size] = data
        self._written[start : start + data.size] = True

    def begin(self, instruction: Instruction) -> None:
        """An instruction is under way from now on."""
        reads, writes = self._accesses(instruction)
        self._readers[reads] += 1
        self._mark[writes] = places = np.arange(writes.size)
        for is_broken, rule in (
            (self._mark[writes] != places, "writes bytes twice"),
            (self._readers[writes], "writes what it, or another one, reads"),
            (self._writers[writes], "writes what another one writes"),
            (self._writers[reads], "reads what another one writes"),
            (~self._written[reads], "reads what nobody has written"),
        ):
            assert not is_broken.any(), f"{instruction} {rule}"
        self._writers[writes] += 1
        self._written[writes] = False
        self._memory[writes] = POISON

    def end(self, instruction: Instruction) -> None:
        """An instruction has ended."""
        reads, writes = self._accesses(instruction)
        self._readers[reads] -= 1  # a byte that is read twice over counts once, as in `begin`
        self._writers[writes] -= 1
        self._written[writes] = True

    def free(self, start: int, nbytes: int) -> None:
        """A range of the memory was given up."""
        freed = slice(start, start + nbytes)
        assert not self._readers[freed].any(), f"bytes {start} to {start + nbytes} are free while somebody reads them"
        assert not self._writers[freed].any(), f"bytes {start} to {start + nbytes} are free while somebody writes them"
        self._written[freed] = False
        self._memory[freed] = POISON

    def _accesses(self, instruction: Instruction) -> tuple[Offsets, Offsets]:
        """The bytes that an instruction reads, and those that it writes."""
        match instruction:
            case Write():
                return _NONE, _range(instruction.address, len(instruction.data))
            case Fetch():
                return _NONE, _range(instruction.address, instruction.wanted.nbytes)
            case Send():
                return _range(instruction.part.address, instruction.part.nbytes), _NONE
            case Dispatch() | Compute():
                reads, writes = self._regions(instruction.task)
                return _join(reads), _join(writes)

    def _regions(self, task: Task) -> tuple[Iterator[Offsets], Iterator[Offsets]]:
        match task:
            case BatchTask():
                return self._batch(task)
            case BlockTask():
                return self._block_reads(task), _sink_writes(task, self._programs[task.program.digest])
            case MergeTask():
                dtypes = REDUCTIONS[task.spec.op].components(task.spec)
                return _all((*task.left, *task.right), (*dtypes, *dtypes)), _all(task.out, dtypes)
            case FinishTask():
                dtypes = REDUCTIONS[task.spec.op].components(task.spec)
                return _all(task.parts, dtypes), _all((task.out,), (np.dtype(task.spec.result),))
            case CarryTask():
                dtypes = SCANS[task.spec.op].components(task.spec)
                return _all((*task.carry, *task.total), (*dtypes, *dtypes)), _all(task.out, dtypes)

    def _batch(self, task: BatchTask) -> tuple[Iterator[Offsets], Iterator[Offsets]]:
        """What a batch reads from before it, and writes. Its tasks follow one another: each keeps the rules alone."""
        outside, written = _NONE, _NONE
        for each in task.tasks:
            reads, writes = map(_join, self._regions(each))
            assert np.unique(writes).size == writes.size, f"{each} writes bytes twice"
            assert not np.intersect1d(reads, writes).size, f"{each} writes what it reads"
            before = np.setdiff1d(reads, written)
            assert isinstance(each, BlockTask) or not before.size, f"{each} reads what its batch has not written"
            outside, written = np.union1d(outside, before), np.union1d(written, writes)
        return iter((outside,)), iter((written,))

    def _block_reads(self, task: BlockTask) -> Iterator[Offsets]:
        yield _range(task.program.offset, task.program.length)
        dtypes = self._programs[task.program.digest].operands
        yield from _all(task.operands, [np.dtype(dtype) for dtype in dtypes])


_NONE: Offsets = np.empty(0, np.intp)


def _range(start: int, nbytes: int) -> Offsets:
    return np.arange(start, start + nbytes)


def _sink_writes(task: BlockTask, program: Program) -> Iterator[Offsets]:
    for sink, regions in zip(program.sinks, task.outputs, strict=True):
        yield from _all(regions, sink_dtypes(sink))


def _all(regions: Sequence[Region], dtypes: Dtypes) -> Iterator[Offsets]:
    for region, dtype in zip(regions, dtypes, strict=True):
        offsets = np.arange(region.offset, region.offset + dtype.itemsize)
        for length, stride in zip(region.shape, region.strides, strict=True):
            offsets = np.add.outer(offsets, np.arange(length) * stride)
        yield offsets.ravel()


def _join(parts: Iterator[Offsets]) -> Offsets:
    return np.concatenate([_NONE, *parts])
