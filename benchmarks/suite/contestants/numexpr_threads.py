"""numexpr in the process itself, with two threads; summed by itself, which one thread does, or by NumPy after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numexpr
import numpy as np

from suite.data import AXES, matrix, numbers
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


@contextmanager
def _axis(task: Task) -> Iterator[Run]:
    """Evaluate with all threads, and let NumPy reduce: along an axis numexpr takes several times as long."""
    numexpr.set_num_threads(THREADS)
    x, axis = matrix(task.nbytes), AXES[task.work]
    out = np.empty_like(x)
    yield one_by_one(
        lambda: numexpr.evaluate("sqrt(x * x + 1)", local_dict={"x": x}, out=out).mean(axis=axis), task.jobs
    )


WORKS: Works = {"fused": _fused, **dict.fromkeys(AXES, _axis)}
