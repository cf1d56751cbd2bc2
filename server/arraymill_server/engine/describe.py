"""What a task does, in words and numbers for messages and logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from typing import Any, Final

import msgspec
import numpy as np

from arraymill_server.arena.memory import Memory
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.program import (
    BatchTask,
    BlockTask,
    CarryTask,
    FinishTask,
    MergeTask,
    Program,
    Reduce,
    Region,
    Scan,
    Task,
)
from arraymill_server.plan.sinks import sink_dtypes

MAX_NAMES: Final = 6
"""Most operations that a message names."""

_programs: Final = msgspec.msgpack.Decoder(Program)

DTypes = tuple[np.dtype[Any], ...]


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task as a message tells of it."""

    operation: str
    """Its operations: `sqrt, add, sum`."""
    nbytes: int
    """Bytes of the arrays that it reads and writes; 0 when it is not known what they are."""


def facts_of(task: Task, space: Memory) -> TaskFacts:
    """Describe a task.

    Args:
        task: The task; for a block, its program must still lie in memory.
        space: What tasks may name; a client may have written there.
    """
    if isinstance(task, BatchTask):
        facts = [facts_of(block, space) for block in task.blocks]
        return TaskFacts(facts[0].operation, sum(each.nbytes for each in facts))
    if not isinstance(task, BlockTask):
        return TaskFacts(task.spec.op, _bytes(_parts_of(task)))
    ref = task.program
    try:
        encoded = bytes(space.bytes(ref.offset, ref.length))
        program = _programs.decode(encoded)
    except (ValueError, msgspec.DecodeError):
        return TaskFacts("a block program", 0)
    if blake2b(encoded, digest_size=16).digest() != ref.digest:
        return TaskFacts("a block program", 0)
    return TaskFacts(_names(program), _bytes(_blocks_of(task, program)))


def _names(program: Program) -> str:
    names = [step.op for step in program.steps]
    names += [sink.spec.op for sink in program.sinks if isinstance(sink, Reduce | Scan)]
    shown = list(dict.fromkeys(names))
    more = len(shown) - MAX_NAMES
    return ", ".join(shown[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "") or "copy"


def _bytes(groups: Iterator[tuple[tuple[Region, ...], DTypes]]) -> int:
    return sum(
        prod(region.shape) * dtype.itemsize
        for regions, dtypes in groups
        for region, dtype in zip(regions, dtypes, strict=False)
    )


def _blocks_of(task: BlockTask, program: Program) -> Iterator[tuple[tuple[Region, ...], DTypes]]:
    yield task.operands, tuple(np.dtype(name) for name in program.operands)
    for regions, sink in zip(task.outputs, program.sinks, strict=False):
        yield regions, sink_dtypes(sink)


def _parts_of(task: MergeTask | FinishTask | CarryTask) -> Iterator[tuple[tuple[Region, ...], DTypes]]:
    if isinstance(task, CarryTask):
        dtypes = SCANS[task.spec.op].components(task.spec)
        yield from ((regions, dtypes) for regions in (task.carry, task.total, task.out))
    elif task.spec.op in REDUCTIONS:
        dtypes = REDUCTIONS[task.spec.op].components(task.spec)
        if isinstance(task, MergeTask):
            yield from ((regions, dtypes) for regions in (task.left, task.right, task.out))
        else:
            yield task.parts, dtypes
            yield (task.out,), (np.dtype(task.spec.result),)
