"""Jobs that go on without their program: a key that makes them idempotent, progress, results that others fetch.

Jobs and results are kept in the memory of the server, and end with it.

    python examples/submitted_jobs.py     # the server is $ARRAYMILL_SERVER, else localhost:50051
"""

from __future__ import annotations

import asyncio

import numpy as np

import arraymill as am


async def submit(mill: am.AsyncClient, x: np.ndarray) -> am.AsyncJob:
    """Submit a job under a key. Run it twice, from anywhere: the same data under the same key is the same job."""
    a = am.asarray(x)
    job = await mill.submit(np.log1p(a * a).sum(axis=0), key="example-nightly", priority=7, deadline=600, ttl=3600)
    await job.uploaded()  # large arrays follow in the background; from here on this program may end
    return job


async def follow(job: am.AsyncJob) -> am.JobState:
    """Tell of every change until the job has ended."""
    state = am.JobState.UNKNOWN
    async for status in job.watch(timeout=600):
        state = status.state
        print(f"{state}: {status.received_bytes:,} bytes, {status.blocks_done} of {status.blocks} blocks")
    return state


async def fetch(id: str) -> np.ndarray:
    """Fetch the result as another program would: by the id alone. Then let the server forget it."""
    async with am.AsyncClient() as other:
        job = await other.job(id)
        while True:
            try:
                value: np.ndarray = await job.result(timeout=30)
                break
            except am.JobNotDoneError as error:
                print(error)  # it goes on: ask again
        await job.delete()
        return value


async def main() -> None:
    """Submit, join the same job, follow it and fetch its result."""
    x = np.random.default_rng(3).normal(size=(4_000, 500))
    async with am.AsyncClient() as mill:
        job = await submit(mill, x)
        again = await submit(mill, x)
        assert again.id == job.id
        await follow(job)
    print("first sums:", (await fetch(job.id))[:3])


if __name__ == "__main__":
    asyncio.run(main())
