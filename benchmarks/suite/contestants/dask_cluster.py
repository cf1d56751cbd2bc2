"""Dask distributed on this machine, with two worker processes.

By itself `scatter` sends an array through the scheduler; told "direct", straight to a worker. Small arrays go with the
call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from distributed import Client, LocalCluster

from suite.data import Array, numbers
from suite.task import Run, Task, Works, all_at_once, one_by_one

WORKERS: Final = 2
LARGE: Final = 1 << 17
"""Bytes from which an array is scattered first."""


def total(x: Array) -> float:
    """Run in a worker."""
    return float(x.sum())


def mean(x: Array) -> float:
    """Run in a worker."""
    return float(x.mean())


FUNCTIONS: Final[dict[str, Callable[[Array], Any]]] = {"sum": total, "mean": mean, "sqrt": np.sqrt}


@contextmanager
def _cluster(is_direct: bool = False) -> Iterator[Any]:
    folder = os.environ["TMPDIR"]
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster, direct_to_workers=is_direct) as client,
    ):
        yield client


@contextmanager
def _one_shot(task: Task) -> Iterator[Run]:
    x, function = numbers(task.nbytes), FUNCTIONS[task.work]
    with _cluster(bool(task.options.get("direct"))) as client:

        def run() -> Any:
            array = client.scatter(x, hash=False) if x.nbytes >= LARGE else x
            return client.submit(function, array, pure=False).result()

        yield one_by_one(run, task.jobs)


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    """Gather so many at a time, which is faster than `as_completed` that refills."""
    x = numbers(task.nbytes)
    with _cluster() as client:

        def many() -> list[float]:
            answers: list[float] = []
            while left := task.jobs - len(answers):
                count = min(left, task.in_flight)
                answers += client.gather([client.submit(total, x, pure=False) for _ in range(count)])
            return answers

        yield all_at_once(many, task.jobs)


WORKS: Works = {"sum": _one_shot, "mean": _one_shot, "sqrt": _one_shot, "burst": _burst}
