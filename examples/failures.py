"""Deadlines, cancellation and errors: what stops a job, and what a program does about it.

Every error is an `ArraymillError`; docs/client.md lists them all.

    python examples/failures.py           # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import asyncio
import time

import numpy as np

import arraymill as am


async def mistakes_are_numpys(mill: am.AsyncClient) -> list[str]:
    """Return what NumPy's own `except` clauses catch. These mistakes are found before anything is sent."""
    x, caught = np.ones((3, 4)), list[str]()
    try:
        await mill.sum(x, axis=2)
    except np.exceptions.AxisError as error:
        caught.append(f"AxisError: {error}")
    try:
        await mill.compute(am.asarray(x) + np.ones(5))
    except ValueError as error:
        caught.append(f"ValueError: {error}")
    return caught


async def in_time(mill: am.AsyncClient, x: np.ndarray, seconds: float) -> float | None:
    """Return the sum, or None when it takes too long: the deadline travels, and the server stops its work."""
    try:
        return float(await mill.sum(x, timeout=seconds))
    except am.DeadlineError:
        return None


async def first_of(mill: am.AsyncClient, arrays: list[np.ndarray]) -> float:
    """Return the first sum, and cancel the other jobs: cancelling a task cancels its job on the server."""
    tasks = [asyncio.create_task(mill.sum(array)) for array in arrays]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return float(done.pop().result())


async def patiently(mill: am.AsyncClient, x: np.ndarray, seconds: float = 60) -> float:
    """Return the sum, for programs that outlive their server's restarts.

    A client asks a busy server again by itself as long as the call may take, and a lost one for `retry_for` seconds
    (30); this goes on beyond that.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return float(await mill.sum(x))
        except am.ConnectionFailedError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(1)


async def main() -> None:
    """Fail in every way, and go on."""
    x = np.ones(2_000_000)
    async with am.AsyncClient() as mill:
        print(*await mistakes_are_numpys(mill), sep="\n")
        print("in a microsecond:", await in_time(mill, x, 1e-6))
        print("in a minute:", await in_time(mill, x, 60))
        print("first of three:", await first_of(mill, [x, x, x]))
        print("patiently:", await patiently(mill, x))


if __name__ == "__main__":
    asyncio.run(main())
