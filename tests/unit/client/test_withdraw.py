"""Jobs that nobody can come for are taken back."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, JobState, asarray
from arraymill._connection import Connection
from arraymill_proto.errors import ConnectionFailedError, DeadlineError, TooLargeError
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


async def test_a_job_whose_answers_were_lost_until_the_time_was_over_is_found_and_taken_back(
    jobs: FakeJobServer, worker: AsyncClient
) -> None:
    jobs.lost["SubmitJob"] = 1 << 30
    with pytest.raises((DeadlineError, ConnectionFailedError)):
        await worker.submit(asarray(X).sum(), timeout=0.3)
    jobs.lost["SubmitJob"] = 0
    await until_taken_back(jobs)


async def test_a_job_whose_submission_is_cancelled_between_two_attempts_is_taken_back(
    jobs: FakeJobServer, worker: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._retry.FIRST_PAUSE", 1e6)
    monkeypatch.setattr("arraymill._retry.LONGEST_PAUSE", 1e6)
    jobs.lost["SubmitJob"] = 1
    submitting = asyncio.create_task(worker.submit(asarray(X).sum()))
    await asyncio.wait_for(jobs.submitted.wait(), 10)
    await asyncio.wait([submitting], timeout=0.1)
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    await until_taken_back(jobs)


@pytest.mark.parametrize(("key", "count"), [(None, 0), ("nightly", 1)], ids=["own key", "known key"])
async def test_a_job_whose_submission_was_tried_in_vain_is_found_and_taken_back(
    jobs: FakeJobServer, key: str | None, count: int
) -> None:
    jobs.lost["SubmitJob"] = 1 << 30
    async with AsyncClient(jobs.address, retry_for=0.1) as mill:
        with pytest.raises(ConnectionFailedError):
            await mill.submit(asarray(X).sum(), key=key)
        jobs.lost["SubmitJob"] = 0
    assert len(jobs.jobs) == count


async def test_a_client_that_tries_nothing_again_does_not_look_for_a_job(jobs: FakeJobServer) -> None:
    jobs.lost["SubmitJob"] = 1
    async with AsyncClient(jobs.address, retry_for=0) as mill:
        with pytest.raises(ConnectionFailedError):
            await mill.submit(asarray(X).sum())
    assert jobs.calls["SubmitJob"] == 1


@pytest.mark.parametrize("is_lost", [False, True], ids=["refused", "lost"])
async def test_a_failed_submission_leaves_no_circle(jobs: FakeJobServer, is_lost: bool) -> None:
    """It would keep the connection open until the garbage is collected."""
    if is_lost:
        jobs.lost["SubmitJob"] = 1
    else:
        jobs.failures["SubmitJob"] = TooLargeError("too large")
    gc.collect()
    gc.disable()
    try:
        mill = AsyncClient(jobs.address, retry_for=0)
        with suppress(ConnectionFailedError, TooLargeError):
            await mill.submit(asarray(X).sum())
        await mill.close()
        del mill
        mine = [each for each in gc.get_objects() if isinstance(each, Connection) and each.address == jobs.address]
        assert not mine
    finally:
        gc.enable()


# ------------------------------------------------------------------ closing


async def test_closing_that_is_cancelled_closes_the_connections_all_the_same(jobs: FakeJobServer) -> None:
    mill = AsyncClient(jobs.address)
    await give_up(jobs, mill)
    closing = asyncio.create_task(mill.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert "closed" in repr(mill)


async def test_an_upload_that_cannot_be_ended_does_not_keep_the_connections(
    jobs: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("arraymill._feeder.cancel_unfed", defect)
    jobs.info.unary_bytes, jobs.halts = 0, [2]
    mill = AsyncClient(jobs.address)
    await mill.submit(asarray(X).sum())
    with pytest.raises(ZeroDivisionError):
        await mill.close()
    assert "closed" in repr(mill)


async def test_nothing_is_submitted_while_a_client_is_closed(jobs: FakeJobServer) -> None:
    """What was on its way to the server before is ended with the rest."""
    jobs.info.unary_bytes, jobs.halts = 0, [2, 2]
    mill = AsyncClient(jobs.address)
    await give_up(jobs, mill)
    jobs.submitted.clear()
    under_way = asyncio.create_task(mill.submit(asarray(X).max()))
    await asyncio.wait_for(jobs.submitted.wait(), 10)
    closing = asyncio.create_task(mill.close())
    await asyncio.sleep(0)
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await mill.submit(asarray(X).min())
    jobs.admitting.set()
    job = await under_way
    await closing
    assert {id: each.message.state for id, each in jobs.jobs.items()} == {job.id: pb.JOB_CANCELLED}
    with pytest.raises(ConnectionFailedError, match="closed"):
        await job.uploaded()


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


async def test_closing_a_client_leaves_a_job_alone_that_has_its_input(
    jobs: FakeJobServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It may need another pass over it, which nobody here knows."""
    jobs.info.unary_bytes, jobs.is_held = 0, True
    async with AsyncClient(jobs.address) as mill:
        job = await mill.submit(asarray(X).sum())
        while not jobs.job.has_its_input:
            await jobs.job.changed.wait()
    assert jobs.job.message.state == pb.JOB_RUNNING
    assert caplog.messages == [
        f"the client was closed before job {job.id} had ended: it fails if it needs its input again"
    ]
    async with AsyncClient(jobs.address) as mill:
        again = await mill.job(job.id)
        jobs.execute(jobs.job)
        assert (await again.wait()).state is JobState.SUCCEEDED


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("GetJob", "has no answer"),
        ("CancelJob", "has asked the server to cancel it, and does not wait for the answer"),
    ],
)
async def test_closing_a_client_waits_for_no_silent_server(
    jobs: FakeJobServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    told: str,
) -> None:
    monkeypatch.setattr("arraymill._withdraw.CLOSE_SECONDS", 0.3)
    call = Connection.call

    async def silent(self: Connection, name: str, *rest: Any) -> Any:
        if name == method:
            await asyncio.Event().wait()
        return await call(self, name, *rest)

    jobs.info.unary_bytes, jobs.halts = 0, [2]
    async with AsyncClient(jobs.address) as mill:
        job = await mill.submit(asarray(X).sum())
        monkeypatch.setattr(Connection, "call", silent)
    assert caplog.messages == [f"the client was closed before job {job.id} had its input, and {told}"]
