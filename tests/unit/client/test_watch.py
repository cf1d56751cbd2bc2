"""Watching a job, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, AsyncJob, JobState, asarray
from arraymill_proto.errors import ConnectionFailedError, DeadlineError, InternalError, JobNotFoundError
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.arange(1000.0)

pytestmark = pytest.mark.usefixtures("no_pauses")


async def held(jobs: FakeJobServer, mill: AsyncClient) -> AsyncJob:
    jobs.is_held = True
    return await mill.submit(asarray(X).sum())


async def watched(jobs: FakeJobServer, job: AsyncJob) -> list[int]:
    """Watch a job that does a block whenever it was seen; return the blocks that were told."""
    seen: list[int] = []
    async for status in job.watch():
        seen.append(status.blocks_done)
        if len(seen) < 5:
            jobs.job.now(state=pb.JOB_RUNNING, blocks_done=len(seen))
        elif not jobs.job.has_ended:
            jobs.execute(jobs.job)
    return seen


async def test_every_change_is_told_and_the_end_is_the_last(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    assert await watched(jobs, job) == [0, 1, 2, 3, 4, 10]
    assert repr(job) == "<AsyncJob job0: succeeded>"
    assert jobs.calls["WatchJob"] == 1
    assert [status.state async for status in job.watch()] == [JobState.SUCCEEDED]


async def test_watching_goes_on_after_cuts(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.watch_cuts = [1, 0, 2, 0, 0, 1]
    seen = await watched(jobs, job)
    assert (seen[0], seen[-1]) == (0, 10)
    assert seen == sorted(seen)
    assert jobs.calls["WatchJob"] == 7


async def test_a_stream_that_ends_too_early_is_opened_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.watch_cuts = [-1, -2]
    assert (await watched(jobs, job))[-1] == 10
    assert jobs.calls["WatchJob"] == 3


async def test_an_event_that_is_no_message(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.watch_raw = b"\xff\xff\xff"
    with pytest.raises(InternalError, match="to WatchJob cannot be read"):
        await anext(job.watch())


async def test_watching_without_retries_tells_of_the_cut(jobs: FakeJobServer) -> None:
    jobs.watch_cuts = [0]
    async with AsyncClient(jobs.address, retry_for=0) as mill:
        job = await held(jobs, mill)
        with pytest.raises(ConnectionFailedError, match="cut"):
            await anext(job.watch())


async def test_a_silent_server_is_a_lost_one(
    jobs: FakeJobServer, worker: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has nothing new to tell says the same again."""
    monkeypatch.setattr("arraymill._watch.SILENT_SECONDS", 0.05)
    job = await held(jobs, worker)
    async with aclosing(job.watch(timeout=20)) as events:
        for _ in range(3):
            assert (await anext(events)).state is JobState.QUEUED
        assert jobs.calls["WatchJob"] == 3
        jobs.execute(jobs.job)
        assert (await anext(events)).state is JobState.SUCCEEDED


async def test_silence_is_told_without_retries(jobs: FakeJobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill._watch.SILENT_SECONDS", 0.05)
    async with AsyncClient(jobs.address, retry_for=0) as mill:
        job = await held(jobs, mill)
        async with aclosing(job.watch()) as events:
            await anext(events)
            with pytest.raises(ConnectionFailedError, match=r"told nothing of job job0 for 0\.05 s"):
                await anext(events)


async def test_a_limit_for_all_of_it(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    events = job.watch(timeout=0.1)
    assert (await anext(events)).state is JobState.QUEUED
    with pytest.raises(DeadlineError, match=r"job job0 had not ended after 0\.1 s; as far as is known it goes on"):
        await anext(events)


async def test_leaving_early_ends_the_stream(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    async with aclosing(job.watch()) as events:
        async for _ in events:
            break
    assert (await job.status()).state is JobState.QUEUED


async def test_each_step_may_be_in_a_task_of_its_own(jobs: FakeJobServer, worker: AsyncClient) -> None:
    """So the synchronous client does it."""
    job = await held(jobs, worker)
    events = job.watch(timeout=10)

    async def step() -> JobState:
        return (await anext(events)).state

    assert await asyncio.create_task(step()) is JobState.QUEUED
    jobs.execute(jobs.job)
    assert await asyncio.create_task(step()) is JobState.SUCCEEDED
    await events.aclose()


async def test_errors_of_the_server(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.jobs.clear()
    with pytest.raises(JobNotFoundError, match="job0"):
        await anext(job.watch())
