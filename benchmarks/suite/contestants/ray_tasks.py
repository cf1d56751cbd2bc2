"""Ray on this machine, with two CPUs: an array is put for each job, and a remote task computes on it.

Small arrays go with the call, which takes half the time. Told "is_put", an array is put once, before the jobs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray

from suite.data import Array, numbers
from suite.task import Run, Task, Works, all_at_once, one_by_one

CPUS: Final = 2
LARGE: Final = 100 << 10
"""Bytes from which Ray itself puts what goes with a call."""


def total(x: Array) -> float:
    """Run in a worker."""
    return float(x.sum())


def mean(x: Array) -> float:
    """Run in a worker."""
    return float(x.mean())


def root(x: Array) -> Array:
    """Run in a worker."""
    return np.sqrt(x)


FUNCTIONS: Final[dict[str, Callable[[Array], Any]]] = {"sum": total, "mean": mean, "sqrt": root}


@contextmanager
def _function(function: Callable[[Array], Any]) -> Iterator[Any]:
    folder = Path(os.environ["TMPDIR"], "r")
    ray.init(
        address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder.resolve())
    )
    try:
        yield ray.remote(function)
    finally:
        ray.shutdown()


@contextmanager
def _one_shot(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _function(FUNCTIONS[task.work]) as remote:
        if task.options.get("is_put"):
            kept = ray.put(x)
            yield one_by_one(lambda: ray.get(remote.remote(kept)), task.jobs)
        elif x.nbytes >= LARGE:
            yield one_by_one(lambda: ray.get(remote.remote(ray.put(x))), task.jobs)
        else:
            yield one_by_one(lambda: ray.get(remote.remote(x)), task.jobs)


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    """Wait for the oldest, which is faster than `ray.wait` for any, and than waves of so many."""
    x = numbers(task.nbytes)
    with _function(total) as remote:

        def many() -> list[float]:
            answers: list[float] = []
            pending: deque[Any] = deque()
            for _ in range(task.jobs):
                if len(pending) == task.in_flight:
                    answers.append(ray.get(pending.popleft()))
                pending.append(remote.remote(x))
            answers += ray.get(list(pending))
            return answers

        yield all_at_once(many, task.jobs)


WORKS: Works = {"sum": _one_shot, "mean": _one_shot, "sqrt": _one_shot, "burst": _burst}
