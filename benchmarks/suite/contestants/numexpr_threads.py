"""numexpr in the process itself, with two threads; summed by itself, which one thread does, or by NumPy after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numexpr
import numpy as np

from suite.data import numbers
from suite.task import Run, Task, Works, one_by_one

THREADS: Final = 2


@contextmanager
def _fused(task: Task) -> Iterator[Run]:
    numexpr.set_num_threads(THREADS)
    arrays = {"a": numbers(task.nbytes), "b": numbers(task.nbytes, 1)}
    if task.options.get("sum") == "numpy":
        out = np.empty_like(arrays["a"])

        def compute() -> float:
            return float(numexpr.evaluate("sqrt(a * a + b * b)", local_dict=arrays, out=out).sum())
    else:

        def compute() -> float:
            return float(numexpr.evaluate("sum(sqrt(a * a + b * b))", local_dict=arrays))

    yield one_by_one(compute, task.jobs)


WORKS: Works = {"fused": _fused}
