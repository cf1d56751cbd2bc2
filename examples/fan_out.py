"""Hundreds of jobs at once: one client, one connection, `asyncio.gather`.

Small arrays share messages, large ones are streamed beside them; the server takes them in turn. A semaphore bounds what
is under way where the arrays are made one by one, so that they need not all be in memory.

    python examples/fan_out.py            # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import asyncio

import numpy as np

import arraymill as am


def measurement(number: int) -> np.ndarray:
    """Return one of many arrays: read yours from a file or a database."""
    return np.random.default_rng(number).normal(loc=number, size=10_000)


async def means_of_all(mill: am.AsyncClient, arrays: list[np.ndarray]) -> list[float]:
    """Return the mean of each array; all jobs are under way at once."""
    return [float(mean) for mean in await asyncio.gather(*(mill.mean(array) for array in arrays))]


async def means_in_bounded_memory(mill: am.AsyncClient, count: int, at_once: int = 32) -> list[float]:
    """Return the means of arrays of which at most `at_once` exist at a time."""
    places = asyncio.Semaphore(at_once)

    async def mean(number: int) -> float:
        async with places:
            return float(await mill.mean(measurement(number)))

    async with asyncio.TaskGroup() as group:  # the first failure cancels the other jobs, on the server too
        tasks = [group.create_task(mean(number)) for number in range(count)]
    return [task.result() for task in tasks]


async def main() -> None:
    """Compute 200 means both ways."""
    async with am.AsyncClient() as mill:
        everything = await means_of_all(mill, [measurement(number) for number in range(200)])
        bounded = await means_in_bounded_memory(mill, 200)
    assert everything == bounded  # the same bits, however jobs are cut and mixed
    print(f"{len(everything)} means, from {min(everything):.3f} to {max(everything):.3f}")


if __name__ == "__main__":
    asyncio.run(main())
