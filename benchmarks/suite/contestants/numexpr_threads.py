"""numexpr in the process itself, with two threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numexpr

from suite.data import numbers
from suite.task import Run, Task, Works, one_by_one

THREADS = 2


@contextmanager
def _fused(task: Task) -> Iterator[Run]:
    numexpr.set_num_threads(THREADS)
    arrays = {"a": numbers(task.nbytes), "b": numbers(task.nbytes, 1)}
    yield one_by_one(lambda: float(numexpr.evaluate("sum(sqrt(a * a + b * b))", local_dict=arrays)), task.jobs)


WORKS: Works = {"fused": _fused}
