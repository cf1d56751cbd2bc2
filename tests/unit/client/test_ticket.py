"""Submitted jobs whose server is replaced, or shuts down."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient, Handle, JobNotDoneError, JobState, asarray
from arraymill._connection import Connection
from arraymill_proto.errors import DeadlineError, JobNotFoundError, ResultExpiredError
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.arange(1000.0).reshape(10, 100)

pytestmark = pytest.mark.usefixtures("no_pauses")


async def test_a_job_that_is_gone_with_its_server_is_submitted_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum(), key="nightly", priority=7)
    await jobs.replace()
    assert await job.result() == X.sum()
    assert (jobs.job.message.id, jobs.job.message.key, jobs.job.message.priority) == (job.id, "nightly", 7)
    assert job.id != "job0"
    assert (await job.status()).state is JobState.SUCCEEDED


async def test_asking_how_a_job_is_submits_it_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    """As `watch` does: who asks again and again must not fare worse."""
    jobs.is_held = True
    job = await worker.submit(asarray(X).sum(), key="nightly")
    await jobs.replace()
    status = await job.status()
    assert (status.id, status.key, status.state) == (job.id, "nightly", JobState.QUEUED)
    assert job.id == jobs.job.message.id != "job0"


async def test_ending_a_job_never_submits_it(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    await jobs.replace()
    for call in (job.cancel, job.delete):
        with pytest.raises(JobNotFoundError, match="job0"):
            await call()
    assert not jobs.jobs


async def test_results_that_are_gone_with_their_server_are_computed_again(
    jobs: FakeJobServer, worker: AsyncClient
) -> None:
    job = await worker.submit(asarray(X).sum(), asarray(X).max(axis=0))
    (total, _) = await job.handles()
    await jobs.replace()
    total, rows = await job.result()
    assert total == X.sum()
    assert np.array_equal(rows, X.max(axis=0))


async def test_waiting_and_watching_go_on_with_the_next_server(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.is_held = True
    job = await worker.submit(asarray(X).sum())
    waits = [asyncio.create_task(job.result()) for _ in range(3)]
    events = job.watch()
    assert (await anext(events)).state is JobState.QUEUED
    await jobs.waiting.wait()
    jobs.is_held = False
    await jobs.replace()
    assert await asyncio.gather(*waits) == [X.sum()] * 3
    assert [status.state async for status in events] == [JobState.SUCCEEDED]
    assert jobs.job.executed == 1


async def test_a_deadline_of_the_next_server_is_no_wait_that_is_over(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.is_held = True
    job = await worker.submit(asarray(X).sum())
    jobs.failures["SubmitJob"] = DeadlineError("the proxy has given up")
    await jobs.replace()
    for call in (job.wait(), anext(job.watch())):
        with pytest.raises(DeadlineError, match="the proxy has given up") as caught:
            await call
        assert not isinstance(caught.value, JobNotDoneError)


async def test_watching_alone_submits_it_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    jobs.is_held = True
    job = await worker.submit(asarray(X).sum(), key="k")
    events = job.watch()
    assert (await anext(events)).state is JobState.QUEUED
    jobs.is_held = False
    await jobs.replace()
    assert [status.state async for status in events] == [JobState.SUCCEEDED]
    assert (jobs.job.message.id, jobs.job.message.key) == (job.id, "k")


async def test_a_job_moves_when_its_connection_takes_no_call_any_more(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.left = set(jobs.peers)
    for _ in range(2):
        assert (await job.status()).state is JobState.SUCCEEDED
    assert await job.result() == X.sum()
    assert [status.state async for status in job.watch()] == [JobState.SUCCEEDED]
    assert len(jobs.peers) == 2


async def test_a_job_that_was_deleted_stays_gone(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.jobs.clear()
    for call in (job.result, job.wait, job.handles, job.status):
        with pytest.raises(JobNotFoundError, match="job0"):
            await call()
    with pytest.raises(JobNotFoundError, match="job0"):
        await anext(job.watch())
    assert not jobs.jobs


async def test_results_that_went_with_their_server_have_not_expired(
    jobs: FakeJobServer, worker: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is replaced between the end of a job and the fetch of what it cannot be submitted again for."""
    job = await worker.job((await worker.submit(asarray(X).sum())).id)
    ended = job.handles

    async def handles(*, timeout: float | None = None) -> tuple[Handle, ...]:
        found = await ended(timeout=timeout)
        await jobs.replace()
        return found

    monkeypatch.setattr(job, "handles", handles)
    with pytest.raises(JobNotFoundError, match="job0"):
        await job.result()


async def test_a_server_whose_age_is_not_known_well_is_asked_again(
    jobs: FakeJobServer, worker: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer of the next server takes as long as the other one lived: connections take their time."""
    job = await worker.submit(asarray(X).sum())
    await jobs.replace()
    ask, wide = Connection._ask, [(-math.inf, math.inf)] * 2  # pyright: ignore[reportPrivateUsage]

    async def slow(connection: Connection) -> pb.ServerInfo:
        info = await ask(connection)
        connection.server_began = wide.pop() if wide else connection.server_began
        return info

    monkeypatch.setattr(Connection, "_ask", slow)
    job._ticket.connection.doubt()  # pyright: ignore[reportPrivateUsage]  # gRPC may have connected again already
    assert await job.result() == X.sum()
    assert not wide


async def test_results_that_were_deleted_stay_gone(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.submit(asarray(X).sum())
    jobs.job.message.results[0].id = "nothing"
    with pytest.raises(ResultExpiredError):
        await job.result()


async def test_who_has_not_submitted_it_cannot_do_so_again(jobs: FakeJobServer, worker: AsyncClient) -> None:
    job = await worker.job((await worker.submit(asarray(X).sum())).id)
    await jobs.replace()
    with pytest.raises(JobNotFoundError):
        await job.result()


async def test_a_client_that_tries_nothing_again_does_not_do_so_either(jobs: FakeJobServer) -> None:
    async with AsyncClient(jobs.address, retry_for=0) as mill:
        job = await mill.submit(asarray(X).sum())
        await jobs.replace()
        async with AsyncClient(jobs.address) as other:
            await other.info()
        with pytest.raises((JobNotFoundError, ConnectionError)):
            await job.result()
        with pytest.raises(JobNotFoundError):
            await job.result()


async def test_a_job_is_asked_for_where_it_was_submitted(jobs: FakeJobServer, worker: AsyncClient) -> None:
    """While its server shuts down, results are still there, and new work goes elsewhere."""
    jobs.is_held = True
    job = await worker.submit(asarray(X).sum(), asarray(X) * 2)
    waiting = asyncio.create_task(job.result())
    await jobs.waiting.wait()
    jobs.leaving = set(jobs.peers)
    assert await worker.sum(X) == X.sum()
    (old, new) = jobs.peers
    jobs.execute(jobs.job)
    total, double = await waiting
    assert total == X.sum()
    assert np.array_equal(double, X * 2)
    assert jobs.reading == {old}
    await job.delete()
    await worker.info()
    assert new != old
