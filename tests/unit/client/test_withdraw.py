"""Jobs that nobody can come for are taken back."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, JobState, asarray
from arraymill_proto.errors import ConnectionFailedError, DeadlineError
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.arange(1000.0).reshape(10, 100)

pytestmark = pytest.mark.usefixtures("no_pauses")


async def give_up(jobs: FakeJobServer, mill: AsyncClient) -> None:
    """Cancel a submission that the server has got, before its answer."""
    jobs.admitting.clear()
    submitting = asyncio.create_task(mill.submit(asarray(X).sum()))
    await asyncio.wait_for(jobs.submitted.wait(), 10)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting


async def until_taken_back(jobs: FakeJobServer) -> None:
    await asyncio.wait_for(jobs.deleted.wait(), 10)
    assert not jobs.jobs


async def test_a_job_whose_submission_timed_out_is_taken_back(jobs: FakeJobServer, worker: AsyncClient) -> None:
    await worker.info()
    jobs.admitting.clear()
    with pytest.raises(DeadlineError):
        await worker.submit(asarray(X).sum(), timeout=0.5)
    jobs.admitting.set()
    await until_taken_back(jobs)
    assert jobs.calls["SubmitJob"] == 1


@pytest.mark.parametrize("is_held", [False, True], ids=["done", "queued"])
async def test_a_job_whose_submission_was_cancelled_is_taken_back(
    jobs: FakeJobServer, worker: AsyncClient, is_held: bool
) -> None:
    jobs.is_held = is_held
    await give_up(jobs, worker)
    jobs.admitting.set()
    await until_taken_back(jobs)


async def test_a_client_that_is_closed_at_once_takes_it_back_too(jobs: FakeJobServer) -> None:
    async with AsyncClient(jobs.address) as mill:
        await give_up(jobs, mill)
        asyncio.get_running_loop().call_later(0.02, jobs.admitting.set)
    assert not jobs.jobs


async def test_a_client_that_is_closed_waits_for_no_answer_for_long(
    jobs: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._withdraw.CLOSE_SECONDS", 0.02)
    async with AsyncClient(jobs.address) as mill:
        await give_up(jobs, mill)
    assert jobs.calls["CancelJob"] == jobs.calls["DeleteJob"] == 0


async def test_a_key_of_the_callers_is_told_instead(jobs: FakeJobServer, worker: AsyncClient) -> None:
    await worker.info()
    jobs.admitting.clear()
    with pytest.raises(DeadlineError, match="under key 'nightly', submit it again to get it") as caught:
        await worker.submit(asarray(X).sum(), key="nightly", timeout=0.5)
    assert caught.value.details["key"] == "nightly"
    jobs.admitting.set()
    job = await worker.submit(asarray(X).sum(), key="nightly")
    assert await job.result() == X.sum()
    assert jobs.job.executed == 1


# ------------------------------------------------------------------ uploads


@pytest.mark.parametrize(
    ("key", "state"), [(None, pb.JOB_CANCELLED), ("nightly", pb.JOB_RUNNING)], ids=["own key", "known key"]
)
async def test_closing_a_client_cancels_what_nobody_else_can_feed(
    jobs: FakeJobServer, caplog: pytest.LogCaptureFixture, key: str | None, state: pb.JobState
) -> None:
    jobs.info.unary_bytes, jobs.halts = 0, [2]
    with caplog.at_level(logging.WARNING, "arraymill"):
        async with AsyncClient(jobs.address) as mill:
            job = await mill.submit(asarray(X).sum(), key=key)
            while jobs.job.message.received_bytes < 2000:
                await jobs.job.changed.wait()
    assert jobs.job.message.state == state
    assert caplog.messages == (
        [f"the client was closed before job {job.id} had its input: it is cancelled"] if key is None else []
    )
    with pytest.raises(ConnectionFailedError, match="closed"):
        await job.uploaded()


async def test_closing_a_client_leaves_a_job_alone_that_another_one_feeds(
    jobs: FakeJobServer, worker: AsyncClient
) -> None:
    jobs.info.unary_bytes, jobs.halts = 0, [2, 1]
    async with AsyncClient(jobs.address) as mill:
        job = await mill.submit(asarray(X).sum())
        while jobs.job.message.received_bytes < 2000:
            await jobs.job.changed.wait()
        await worker.submit(asarray(X).sum(), key=job.key)
        await asyncio.wait_for(jobs.waiting.wait(), 10)  # the first one stands by
    assert jobs.job.message.state == pb.JOB_RUNNING


async def test_closing_a_client_leaves_a_job_alone_that_has_its_input(jobs: FakeJobServer) -> None:
    jobs.info.unary_bytes, jobs.is_held = 0, True
    async with AsyncClient(jobs.address) as mill:
        job = await mill.submit(asarray(X).sum())
        while not jobs.job.has_its_input:
            await jobs.job.changed.wait()
    assert jobs.job.message.state == pb.JOB_RUNNING
    async with AsyncClient(jobs.address) as mill:
        again = await mill.job(job.id)
        jobs.execute(jobs.job)
        assert (await again.wait()).state is JobState.SUCCEEDED
