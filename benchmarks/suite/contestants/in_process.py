"""NumPy in the process itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from suite.data import AXES, matrix, numbers
from suite.task import Run, Task, Works, one_by_one


@contextmanager
def _sum(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    yield one_by_one(lambda: float(x.sum()), task.jobs)


@contextmanager
def _mean(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    yield one_by_one(lambda: float(x.mean()), task.jobs)


@contextmanager
def _sqrt(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    out = np.empty_like(x) if task.options.get("out") else None
    yield one_by_one(lambda: np.sqrt(x, out=out), task.jobs)


@contextmanager
def _fused(task: Task) -> Iterator[Run]:
    a, b = numbers(task.nbytes), numbers(task.nbytes, 1)
    yield one_by_one(lambda: float(np.sqrt(a * a + b * b).sum()), task.jobs)


@contextmanager
def _axis(task: Task) -> Iterator[Run]:
    x, axis = matrix(task.nbytes), AXES[task.work]
    yield one_by_one(lambda: np.sqrt(x * x + 1).mean(axis=axis), task.jobs)


WORKS: Works = {"sum": _sum, "mean": _mean, "sqrt": _sqrt, "fused": _fused, **dict.fromkeys(AXES, _axis)}
