"""Ray on this machine, with two CPUs: the array is put once per run, and a remote task computes on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray

from suite.data import Array, numbers
from suite.task import Run, Task, Works, all_at_once, one_by_one

CPUS: Final = 2


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
        yield one_by_one(lambda: ray.get(remote.remote(ray.put(x))), task.jobs)


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _function(total) as remote:

        def many() -> list[float]:
            answers: list[float] = []
            pending: list[Any] = []
            for _ in range(task.jobs):
                if len(pending) >= task.in_flight:
                    done, pending = ray.wait(pending)
                    answers += ray.get(done)
                pending.append(remote.remote(x))
            answers += ray.get(pending)
            return answers

        yield all_at_once(many, task.jobs)


WORKS: Works = {"sum": _one_shot, "mean": _one_shot, "sqrt": _one_shot, "burst": _burst}
