"""A load of jobs whose answers are known, and a process that runs one: `python tests/load.py ADDRESS SEED JOBS`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import arraymill as am

Job: TypeAlias = Callable[[am.AsyncClient, NDArray[np.float64]], Awaitable[Any]]

SMALLEST_BYTES = 64 << 10
LARGEST_BYTES = 32 << 20

JOBS: dict[str, tuple[Job, Callable[[NDArray[np.float64]], Any]]] = {
    "sum": (lambda mill, x: mill.sum(x), np.sum),
    "mean of columns": (lambda mill, x: mill.mean(x, axis=0), lambda x: x.mean(axis=0)),
    "std of rows": (lambda mill, x: mill.std(x, axis=1), lambda x: x.std(axis=1)),
    "sqrt": (lambda mill, x: mill.transform("sqrt", x), np.sqrt),
    "fused": (
        lambda mill, x: mill.compute(np.sqrt(am.asarray(x) * x + 1).mean(axis=0)),
        lambda x: np.sqrt(x * x + 1).mean(axis=0),
    ),
    "two passes": (
        lambda mill, x: mill.compute((am.asarray(x) - am.asarray(x).mean()) / am.asarray(x).std()),
        lambda x: (x - x.mean()) / x.std(),
    ),
    "cumsum": (lambda mill, x: mill.transform("cumsum", x, axis=0), lambda x: x.cumsum(axis=0)),
}


def array_for(seed: int, number: int, largest: int = LARGEST_BYTES) -> NDArray[np.float64]:
    """The array of a job: sizes spread evenly over the orders of magnitude."""
    random = np.random.default_rng((seed, number))
    nbytes = int(SMALLEST_BYTES * (largest / SMALLEST_BYTES) ** random.random())
    columns = int(random.integers(1, 2000))
    base = random.random(1 << 16)
    return np.resize(base, (max(1, nbytes // 8 // columns), columns)) + random.random()


async def run_one(mill: am.AsyncClient, seed: int, number: int, largest: int = LARGEST_BYTES) -> None:
    """Run one job and check its answer."""
    x = array_for(seed, number, largest)
    name = list(JOBS)[number % len(JOBS)]
    job, known = JOBS[name]
    answer, expected = await job(mill, x), known(x)
    assert np.shape(answer) == np.shape(expected), name
    np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9, err_msg=f"{name} of {x.shape}")


async def run_load(address: str, seed: int, jobs: int, largest: int = LARGEST_BYTES) -> None:
    """Run many jobs at once through one client."""
    async with am.AsyncClient(address) as mill:
        await asyncio.gather(*(run_one(mill, seed, number, largest) for number in range(jobs)))


if __name__ == "__main__":
    asyncio.run(run_load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    print("every answer is right")
