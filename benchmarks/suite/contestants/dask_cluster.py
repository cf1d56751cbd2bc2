"""Dask distributed on this machine, with two worker processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from distributed import Client, LocalCluster, as_completed

from suite.data import Array, numbers
from suite.task import Run, Task, Works, all_at_once, one_by_one

WORKERS: Final = 2


def total(x: Array) -> float:
    """Run in a worker."""
    return float(x.sum())


def mean(x: Array) -> float:
    """Run in a worker."""
    return float(x.mean())


FUNCTIONS: Final[dict[str, Callable[[Array], Any]]] = {"sum": total, "mean": mean, "sqrt": np.sqrt}


@contextmanager
def _cluster() -> Iterator[Any]:
    folder = os.environ["TMPDIR"]
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _one_shot(task: Task) -> Iterator[Run]:
    x, function = numbers(task.nbytes), FUNCTIONS[task.work]
    with _cluster() as client:

        def run() -> Any:
            array = client.scatter(x, hash=False)
            return client.submit(function, array, pure=False).result()

        yield one_by_one(run, task.jobs)


@contextmanager
def _burst(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _cluster() as client:

        def job() -> Any:
            return client.submit(total, x, pure=False)

        def many() -> list[float]:
            pending = as_completed([job() for _ in range(task.in_flight)], with_results=True)
            answers: list[float] = []
            for _, answer in pending:
                answers.append(answer)
                if len(answers) + task.in_flight <= task.jobs:
                    pending.add(job())
            return answers

        yield all_at_once(many, task.jobs)


WORKS: Works = {"sum": _one_shot, "mean": _one_shot, "sqrt": _one_shot, "burst": _burst}
