"""arraymill with two workers, on the lane that the task asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

import arraymill as am
from suite.contestants.mill_crowds import CROWDS
from suite.data import AXES, Array, matrix, numbers
from suite.lanes import LANE, connect
from suite.processes import arraymill_command, server_process
from suite.task import Run, Task, Works, one_by_one

WORKERS: Final = 2
ARENA: Final = "256MiB"
"""Arrays of all sizes go through an arena of this one."""


@contextmanager
def _client(task: Task, arena: str = ARENA, *more: str) -> Iterator[am.Client]:
    with (
        server_process(arraymill_command(WORKERS, arena, *more)) as (address, _),
        connect(address, task.options.get("lane", LANE)) as mill,
    ):
        yield mill


def _input(task: Task, mill: am.Client) -> Array:
    """Return the numbers, where they lie anyway or in memory that the server has as well."""
    x = numbers(task.nbytes)
    if not task.options.get("is_shared"):
        return x
    shared: Array = mill.empty(x.shape)
    shared[:] = x
    return shared


@contextmanager
def _number(task: Task) -> Iterator[Run]:
    with _client(task) as mill:
        x = _input(task, mill)
        compute = mill.mean if task.work == "mean" else mill.sum
        yield one_by_one(lambda: compute(x), task.jobs)


@contextmanager
def _sqrt(task: Task) -> Iterator[Run]:
    """Take the roots into a new array each time, or into the same one, which is shared as well."""
    with _client(task) as mill:
        x = _input(task, mill)
        out = mill.empty(x.shape) if task.options.get("is_shared") else None
        yield one_by_one(lambda: mill.transform("sqrt", x, out=out), task.jobs)


@contextmanager
def _fused(task: Task) -> Iterator[Run]:
    """Compute on two arrays that lie on the server; one client may fill seven eighths of the budget."""
    budget = (2 * task.nbytes >> 20) * 8 // 7 + 64
    with _client(task, f"{budget + 256}MiB", "--resident-budget", f"{budget}MiB") as mill:
        a, b = (mill.put(numbers(task.nbytes, stream)) for stream in range(2))
        yield one_by_one(lambda: mill.compute(np.sqrt(a * a + b * b).sum()), task.jobs)


@contextmanager
def _axis(task: Task) -> Iterator[Run]:
    """Compute on a matrix that lies on the server, like `_fused`."""
    budget = (task.nbytes >> 20) * 8 // 7 + 64
    with _client(task, f"{budget + 256}MiB", "--resident-budget", f"{budget}MiB") as mill:
        x = mill.put(matrix(task.nbytes))
        yield one_by_one(lambda: mill.compute(np.sqrt(x * x + 1).mean(axis=AXES[task.work])), task.jobs)


WORKS: Works = {"sum": _number, "mean": _number, "sqrt": _sqrt, "fused": _fused, **dict.fromkeys(AXES, _axis), **CROWDS}
