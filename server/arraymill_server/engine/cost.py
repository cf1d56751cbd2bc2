"""What a task will cost, and how long it may take: predicted from its size and from how its kind went so far. No I/O.

The formula::

    work     = elements + BASE_WORK                      elements: of the block, or of the partials that are merged
    expected = rate · work                               rate: seconds per unit of work of the task's kind
    limit    = min(task timeout, max(FLOOR_SECONDS, SAFETY · expected))

A kind is a program (by its digest), or the operation that is merged, finished or carried. Its rate is that of its
slowest task lately: a slower one raises it at once, each quicker one lowers it by a tenth at most. Until the first
answer the rate is FIRST_RATE for each operation, with as many as the program's length has room for.

A prediction can be wrong: for values that are slow to compute, on a machine that swaps. That costs time, never a job,
since the last attempt of a task has the whole task timeout.

Most tasks take milliseconds, so FLOOR_SECONDS is their limit, where it was the task timeout for all of them before
(60 s): a worker that hangs is noticed twelve times sooner.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import prod
from typing import Final

import msgspec

from arraymill_server.plan.program import BatchTask, BlockTask, FinishTask, MergeTask, Region, Task

FLOOR_SECONDS: Final = 5.0
"""Least limit of a task. A block takes 0.5 to 50 ms; the rest is for a machine with ten times the processes it has
cores for, and for pages that come back from swap."""

SAFETY: Final = 10.0
"""Limit by expectation. The rate is that of the slowest task lately, so this is a margin above what was seen."""

FIRST_RATE: Final = 100e-9
"""Seconds per element and operation, until measured. The slowest kernels of NumPy 2.4 took 98 ns (complex64 power),
97 (uint8 expm1), 91 (complex64 sort), 71 (float16 exp); most take 1 to 10."""

BASE_WORK: Final = 10_000
"""Work of a task of no elements: with it, small tasks, which take 20 to 50 µs whatever their size, do not let large
ones of their kind appear slow."""

STEP_BYTES: Final = 12
"""Least bytes of an encoded operation of a program (its name, arguments and dtype), so length by these is not less than
the number of operations."""

KINDS: Final = 1024
"""Kinds whose rate is known; those used least recently are forgotten. More than programs are in use at a time."""

DECAY: Final = 0.9
"""What is left of a rate, at least, after a quicker task."""


class Size(msgspec.Struct, frozen=True):
    """What tells the cost of a task."""

    kind: Hashable
    """Tasks of one kind have one rate."""
    work: int
    """Elements and BASE_WORK; the operations of a kind are always as many, so its rate contains them."""
    operations: int = 1
    """Most that there can be."""


def size_of(task: Task) -> Size:
    """Measure a task."""
    if isinstance(task, BlockTask):
        ref = task.program
        return Size(ref.digest, BASE_WORK + prod(task.shape), 1 + ref.length // STEP_BYTES)
    if isinstance(task, BatchTask):
        sizes = [size_of(block) for block in task.blocks]
        return Size(sizes[0].kind, sum([size.work for size in sizes]), sizes[0].operations)
    regions: tuple[Region, ...]
    if isinstance(task, MergeTask):
        regions = (*task.left, *task.right)
    elif isinstance(task, FinishTask):
        regions = (*task.parts, task.out)
    else:
        regions = (*task.total, *task.out)
    return Size((type(task), task.spec.op), BASE_WORK + sum([prod(region.shape) for region in regions]))


class CostModel:
    """Predicts the seconds of tasks.

    Args:
        task_timeout_seconds: Most that any task may take.
    """

    def __init__(self, task_timeout_seconds: float) -> None:
        self._timeout = task_timeout_seconds
        self._rates: OrderedDict[Hashable, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<CostModel {len(self._rates)} kinds, limit {self._timeout:g} s>"

    def expect(self, size: Size) -> float:
        """Return the seconds that a task will take, on the high side."""
        rate = self._rates.get(size.kind)
        return (FIRST_RATE * size.operations if rate is None else rate) * size.work

    def limit(self, expected_seconds: float) -> float:
        """Return the seconds that a task may take."""
        seconds = SAFETY * expected_seconds if expected_seconds > FLOOR_SECONDS / SAFETY else FLOOR_SECONDS
        return seconds if seconds < self._timeout else self._timeout

    def learn(self, size: Size, seconds: float) -> None:
        """Take in how long a task took."""
        rates, kind, rate = self._rates, size.kind, seconds / size.work
        known = rates.get(kind)
        if known is None:
            if len(rates) >= KINDS:
                rates.popitem(last=False)
            rates[kind] = rate
        else:
            rates[kind] = rate if rate > DECAY * known else DECAY * known
            rates.move_to_end(kind)
