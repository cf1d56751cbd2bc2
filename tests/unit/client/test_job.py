"""A submitted job as its client sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, AsyncJob, JobNotDoneError, JobState, asarray
from arraymill_proto.errors import (
    ArrayNotFoundError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    DeadlineError,
    InvalidJobError,
    JobCancelledError,
    JobEndedError,
    JobNotFoundError,
    ParameterError,
    ResultExpiredError,
    ShapeError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.arange(1000.0).reshape(10, 100)

pytestmark = pytest.mark.usefixtures("no_pauses")


async def held(jobs: FakeJobServer, mill: AsyncClient) -> AsyncJob:
    """A job that is queued, with its input."""
    jobs.is_held = True
    return await mill.submit(asarray(X).sum(), asarray(X).max(axis=0))


def later(jobs: FakeJobServer, **fields: object) -> asyncio.TimerHandle:
    """Let something happen to the only job after the client has begun to wait."""
    return asyncio.get_running_loop().call_later(0.02, lambda: jobs.job.now(**fields))


# ------------------------------------------------------------------ results


async def test_one_value_or_several(worker: AsyncClient) -> None:
    assert await (await worker.submit(asarray(X).sum())).result() == X.sum()
    total, rows = await (await worker.submit(asarray(X).sum(), asarray(X).max(axis=0))).result()
    assert total == X.sum()
    assert np.array_equal(rows, X.max(axis=0))
    assert rows.flags.writeable


async def test_a_result_is_waited_for(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    asyncio.get_running_loop().call_later(0.02, jobs.execute, jobs.job)
    total, _ = await job.result(timeout=10)
    assert total == X.sum()
    assert all(9 < wait <= 10 for wait in jobs.waits)


async def test_no_call_waits_longer_than_the_server_lets_it(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.info.max_wait_seconds = 0.01
    job = await held(jobs, worker)
    with pytest.raises(DeadlineError):
        await job.result(timeout=0.1)
    assert max(jobs.waits) == 0.01
    assert jobs.waits.count(0.01) > 2


async def test_a_server_that_does_not_wait_is_not_asked_all_the_time(
    jobs: FakeJobServer, worker: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await held(jobs, worker)
    jobs.raw["GetJob"] = jobs.job.message.SerializeToString()
    monkeypatch.setattr("arraymill._ticket.EARLY_PAUSE", 0.02)
    with pytest.raises(DeadlineError):
        await job.wait(timeout=0.2)
    assert jobs.calls["GetJob"] <= 12


async def test_a_result_goes_into_the_callers_array(worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X) * 2)
    out = np.empty_like(X)
    assert await job.result(out=out) is out
    assert np.array_equal(out, X * 2)


async def test_an_out_that_does_not_fit_is_told_before_anything_is_waited_for(
    jobs: FakeJobServer, worker: AsyncClient
) -> None:
    job = await held(jobs, worker)
    with pytest.raises(ShapeError, match="out has shape"):
        await job.result(out=[None, np.zeros(3)])
    with pytest.raises(ParameterError, match="1 arrays for 2 expressions"):
        await job.result(out=np.zeros(3))
    assert jobs.calls["GetJob"] == 0


async def test_the_time_may_be_over_while_the_job_goes_on(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    with pytest.raises(JobNotDoneError) as caught:
        await job.result(0.05)
    assert isinstance(caught.value, DeadlineError)
    assert isinstance(caught.value, TimeoutError)
    assert str(caught.value) == (
        "job job0 had not ended after 0.05 s (queued, waits for memory); as far as is known it goes on, ask again"
    )
    assert caught.value.details == {"job": "job0", "state": "queued"}
    jobs.execute(jobs.job)
    total, _ = await job.result()
    assert total == X.sum()


async def test_the_clients_timeout_is_that_of_a_result_too(jobs: FakeJobServer) -> None:
    async with AsyncClient(jobs.address, timeout=0.2) as mill:
        job = await held(jobs, mill)
        with pytest.raises(DeadlineError, match=r"after 0\.2 s"):
            await job.result()


async def test_the_servers_failure_is_raised(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.job.message.error.CopyFrom(pb.JobError(reason="COMPUTATION", message="negative powers", details={"node": "2"}))
    later(jobs, state=pb.JOB_FAILED)
    with pytest.raises(ComputationError, match="negative powers") as caught:
        await job.result()
    assert caught.value.details == {"node": "2"}
    assert repr(job) == "<AsyncJob job0: failed: negative powers>"
    assert (await job.wait()).state is JobState.FAILED


async def test_a_deadline_that_has_passed_for_good_is_told_from_a_wait_that_is_over(
    jobs: FakeJobServer, worker: AsyncClient
) -> None:
    """Who asks again as long as the job goes on comes to an end."""
    job = await held(jobs, worker)
    jobs.job.message.error.CopyFrom(pb.JobError(reason="DEADLINE", message="the deadline of 1 s has passed"))
    later(jobs, state=pb.JOB_FAILED)
    with pytest.raises(DeadlineError, match="of 1 s has passed") as caught:
        await job.result()
    assert not isinstance(caught.value, JobNotDoneError)


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        (pb.JOB_CANCELLED, JobCancelledError, "job job0 was cancelled"),
        (pb.JOB_EXPIRED, ResultExpiredError, "the results of job job0 are gone"),
    ],
)
async def test_other_ends(
    jobs: FakeJobServer, worker: AsyncClient, state: pb.JobState, kind: type[Exception], text: str
) -> None:
    job = await held(jobs, worker)
    later(jobs, state=state)
    with pytest.raises(kind, match=text):
        await job.result()


async def test_results_that_expire_on_the_way(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.failures["Compute"] = ArrayNotFoundError("no resident array")
    with pytest.raises(ResultExpiredError, match="submit it again"):
        await job.result()


async def test_handles_go_on_without_a_transfer(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X) * 2, asarray(X).sum())
    double, total = await job.handles()
    assert (double.shape, total.shape) == (X.shape, ())
    assert await worker.sum(double - total) == (X * 2 - X.sum()).sum()
    assert np.array_equal(await worker.get(double[3]), X[3] * 2)


# ------------------------------------------------------------------ asking


async def test_status(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.job.now(position=3)
    status = await job.status()
    assert (status.state, status.position, status.priority, status.key) == (JobState.QUEUED, 3, 5, job.key)
    assert repr(job) == "<AsyncJob job0: queued, 3 before it>"
    jobs.job.now(state=pb.JOB_RUNNING, blocks_done=4)
    await job.status()
    assert repr(job) == "<AsyncJob job0: running, 4 of 10 blocks>"


async def test_waiting_tells_the_end_and_raises_nothing(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    later(jobs, state=pb.JOB_CANCELLED)
    status = await job.wait()
    assert status.state is JobState.CANCELLED
    assert status.has_ended


async def test_another_process_comes_back_by_id(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    async with AsyncClient(jobs.address) as other:
        again = await other.job(job.id)
        assert (again.id, again.key) == (job.id, job.key)
        assert await again.result() == X.sum()
        await again.uploaded()
        with pytest.raises(LookupError, match="no submitted job 'nothing'"):
            await other.job("nothing")


async def test_all_pages_are_listed(jobs: FakeJobServer, worker: AsyncClient) -> None:
    for number in range(5):
        await worker.submit(asarray(X) + number, key=f"k{number}")
    assert [status.key for status in await worker.jobs()] == ["k0", "k1", "k2", "k3", "k4"]
    assert jobs.calls["ListJobs"] == 3


@pytest.mark.parametrize("knows_open_only", [True, False], ids=["", "older"])
async def test_those_that_have_not_ended_are_listed_alone(
    knows_open_only: bool, jobs: FakeJobServer, worker: AsyncClient
) -> None:
    """An older server lists all: the client leaves those out that have ended."""
    jobs.knows_open_only = knows_open_only
    for number in range(3):
        await worker.submit(asarray(X) + number, key=f"k{number}")
    jobs.is_held = True
    for number in range(3, 6):
        await worker.submit(asarray(X) + number, key=f"k{number}")
    assert [status.key for status in await worker.jobs(ended=False)] == ["k3", "k4", "k5"]
    assert [status.key for status in await worker.jobs(ended=False, limit=2)] == ["k3", "k4"]
    assert [status.key for status in await worker.jobs(limit=3)] == ["k0", "k1", "k2"]


@pytest.mark.parametrize("limit", [0, -1, 2.5, "3", True])
async def test_a_limit_that_is_no_count_is_refused(limit: Any, worker: AsyncClient) -> None:
    with pytest.raises(ParameterError, match="whole number, at least 1"):
        await worker.jobs(limit=limit)


async def test_waiting_survives_lost_answers_and_a_busy_server(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.lost["GetJob"] = 2
    jobs.refusals["GetJob"] = [BusyError("full", retry_after=0.001)]
    jobs.refusals["Compute"] = [BusyError("full", retry_after=0.001)]
    assert await job.result() == X.sum()


async def test_cancelling_a_wait_leaves_the_job_alone(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    waiting = asyncio.create_task(job.result())
    await jobs.waiting.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await job.status()).state is JobState.QUEUED


async def test_a_client_that_is_closed_ends_waits(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    waiting = asyncio.create_task(job.result())
    await jobs.waiting.wait()
    await worker.close()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await waiting


# ------------------------------------------------------------------ ending


async def test_cancel(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    assert [(await job.cancel()).state for _ in range(2)] == [JobState.CANCELLED] * 2
    with pytest.raises(JobCancelledError):
        await job.result()


async def test_a_cancellation_whose_answer_is_lost(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.lost["CancelJob"] = 1
    assert (await job.cancel()).state is JobState.CANCELLED
    assert jobs.calls["CancelJob"] == 2


async def test_a_job_that_succeeds_before_a_cancellation_is_repeated(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    jobs.refusals["CancelJob"] = [ConnectionFailedError("lost on the way there")]
    jobs.execute(jobs.job)
    with pytest.raises(JobEndedError, match="it is succeeded"):
        await job.cancel()


async def test_delete(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await held(jobs, worker)
    with pytest.raises(InvalidJobError, match="cancel it first"):
        await job.delete()
    await job.cancel()
    jobs.lost["DeleteJob"] = 1
    await job.delete()
    assert not jobs.jobs
    for call in (job.status, job.delete, job.cancel, job.wait, job.result):
        with pytest.raises(JobNotFoundError, match="job0"):
            await call()
