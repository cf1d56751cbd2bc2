"""Feeding a job in the background: over streams that break, beside others who feed it, to the end or to a failure."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from patience import until
from unit.client.fake_jobs import PIECE, FakeJob, FakeJobServer
from unit.client.fake_server import Session, fail

from arraymill import AsyncClient, AsyncJob, JobNotDoneError, JobState, asarray
from arraymill._feeder import UPLOAD_SECONDS
from arraymill._retry import Retry
from arraymill_proto.errors import (
    ArraymillError,
    ConnectionFailedError,
    DeadlineError,
    InternalError,
    JobCancelledError,
    JobNotFoundError,
    WorkerError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb

X: NDArray[np.float64] = np.random.default_rng(3).random((10, 125))
PIECES = X.nbytes // PIECE

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest_asyncio.fixture
async def feeding(jobs: FakeJobServer) -> AsyncIterator[AsyncClient]:
    """A client that feeds the smallest array too."""
    jobs.info.unary_bytes = 0
    async with AsyncClient(jobs.address) as mill:
        yield mill


def sent(jobs: FakeJobServer) -> list[int]:
    """The offsets of all frames, in the order in which they came."""
    return [frame.offset for session in jobs.sessions for frame in session.frames]


async def running(jobs: FakeJobServer, mill: AsyncClient) -> AsyncJob:
    """A job that has its input and does not end."""
    jobs.is_held = True
    job = await mill.submit(asarray(X).sum())
    while not jobs.job.has_its_input:
        await jobs.job.changed.wait()
    return job


LAYOUTS: dict[str, NDArray[Any]] = {
    "C": X,
    "Fortran": np.asfortranarray(X),
    "strided": X[::2, ::-3],
    "big-endian": X.astype(">f8"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_an_upload(jobs: FakeJobServer, feeding: AsyncClient, layout: str) -> None:
    x = LAYOUTS[layout]
    job = await feeding.submit(asarray(x) * 2)
    await job.uploaded()
    assert np.array_equal(await job.result(), x * 2)
    assert jobs.job.feeds == 1


async def test_two_inputs(feeding: AsyncClient) -> None:
    job = await feeding.submit(asarray(X) * X[0], asarray(X[1]).sum())
    product, total = await job.result()
    assert np.array_equal(product, X * X[0])
    assert total == X[1].sum()


@pytest.mark.parametrize("cuts", [[0], [3], [1] * (PIECES - 1), [0, 2, 0, 0, 5]])
async def test_an_upload_goes_on_where_it_was_cut(jobs: FakeJobServer, feeding: AsyncClient, cuts: list[int]) -> None:
    jobs.cuts = list(cuts)
    job = await feeding.submit(asarray(X).sum())
    await job.uploaded()
    assert await job.result() == X.sum()
    assert sent(jobs) == list(range(0, X.nbytes, PIECE)), "nothing that has arrived is sent again"
    assert jobs.job.feeds == len(cuts) + 1
    assert jobs.job.executed == 1


async def test_cuts_far_apart_are_no_row_of_failures(jobs: FakeJobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each time the server has answered."""
    times = count(0.0, 0.7 * UPLOAD_SECONDS)
    monkeypatch.setattr("arraymill._client.Retry", partial(Retry, clock=lambda: next(times)))
    jobs.info.unary_bytes, jobs.cuts = 0, [1] * (PIECES - 1)
    async with AsyncClient(jobs.address) as mill:
        job = await mill.submit(asarray(X).sum())
        await job.uploaded()
        assert await job.result() == X.sum()


async def test_a_server_that_goes_away_and_comes_back(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    await jobs.stop()
    await asyncio.sleep(0.02)
    jobs.is_held = False
    await jobs.start()
    await job.uploaded(timeout=20)
    assert await job.result() == X.sum()


async def test_who_attaches_later_takes_over(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    """Another process submits the same again, for instance because it takes the first one for dead."""
    job = await running(jobs, feeding)
    async with AsyncClient(jobs.address) as other:
        again = await other.submit(asarray(X).sum(), key=job.key)
        assert again.id == job.id
        await asyncio.wait_for(jobs.waiting.wait(), 20)
        jobs.execute(jobs.job)
        await job.uploaded()
        await again.uploaded()
        assert await again.result() == await job.result() == X.sum()
    assert jobs.job.feeds == 2, "the first does not fight for its place"


async def replaced(jobs: FakeJobServer, mill: AsyncClient, other: AsyncClient) -> AsyncJob:
    """A job of one client, which another one has brought three pieces of six, and has no more."""
    jobs.halts = [2, 1]
    job = await mill.submit(asarray(X).sum())
    while len(jobs.job.pieces) < 2:
        await jobs.job.changed.wait()
    await other.submit(asarray(X).sum(), key=job.key)
    while len(jobs.job.pieces) < 3:
        await jobs.job.changed.wait()
    return job


async def test_who_was_replaced_goes_on_when_the_other_dies(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._feeder.STILL_SECONDS", 0.05)
    async with AsyncClient(jobs.address) as other:
        job = await replaced(jobs, feeding, other)
        uploaded = asyncio.create_task(job.uploaded())
        await asyncio.wait_for(jobs.waiting.wait(), 20)
        assert not uploaded.done(), "who is told that it may exit takes the arrays along"
    assert await job.result(timeout=20) == X.sum()
    await uploaded
    assert sent(jobs) == list(range(0, X.nbytes, PIECE))
    assert jobs.job.feeds == 3


async def test_who_was_replaced_holds_its_place_back_while_bytes_come(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._feeder.STILL_SECONDS", 0.001)
    looks = asyncio.Semaphore(0)

    def move(job: FakeJob) -> None:
        job.message.received_bytes += 1
        looks.release()

    jobs.on_wait = move
    async with AsyncClient(jobs.address) as other:
        job = await replaced(jobs, feeding, other)
        for _ in range(20):
            await asyncio.wait_for(looks.acquire(), 20)
        assert jobs.job.feeds == 2
        jobs.on_wait = lambda _: None
        assert await job.result(timeout=20) == X.sum()
    assert jobs.job.feeds == 3


async def test_a_job_that_does_not_run_gets_nothing_and_is_not_abandoned(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server has been told to queue it again, for instance."""
    monkeypatch.setattr("arraymill._feeder.STILL_SECONDS", 0.001)
    looks = asyncio.Semaphore(0)

    def queue(job: FakeJob) -> None:
        job.message.state = pb.JOB_QUEUED
        looks.release()

    jobs.on_wait = queue
    async with AsyncClient(jobs.address) as other:
        await replaced(jobs, feeding, other)
        for _ in range(20):
            await asyncio.wait_for(looks.acquire(), 20)
        assert jobs.job.feeds == 2


async def test_two_feeders_of_a_job_that_waits_for_nothing_take_turns_ever_less_often(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._feeder.STILL_SECONDS", 0.01)
    job = await running(jobs, feeding)
    async with AsyncClient(jobs.address) as other:
        again = await other.submit(asarray(X).sum(), key=job.key)
        while jobs.job.feeds < 6:
            await jobs.job.changed.wait()
        jobs.execute(jobs.job)
        await again.uploaded()
        await job.uploaded()
    patiences = [0.01 * 2 ** (turn // 2) for turn in range(jobs.job.feeds - 2)]
    assert len(jobs.waits) >= sum(patience / 0.01 for patience in patiences)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let feeders look soon, and servers answer soon."""
    monkeypatch.setattr("arraymill._feeder.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("arraymill._feeder.INFORMATION_SECONDS", 0.05)


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_wants_nothing_for_long_is_asked_whether_it_is_there(
    jobs: FakeJobServer, feeding: AsyncClient
) -> None:
    jobs.halts = [2]
    job = await feeding.submit(asarray(X).sum())
    await until(lambda: jobs.calls["GetJob"] >= 3)
    assert jobs.job.feeds == 1, "it answers: all is well"
    jobs.answering.clear()
    await until(lambda: jobs.calls["GetJob"] >= 5)
    jobs.answering.set()
    assert await job.result(timeout=20) == X.sum()
    assert jobs.job.feeds == 2
    assert sent(jobs) == list(range(0, X.nbytes, PIECE))


@pytest.mark.usefixtures("hasty")
async def test_a_stream_that_does_not_tell_the_end_of_its_job(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    async def feed(session: Session, attach: pb.Attach) -> None:
        await session.accept()
        jobs.job.now(state=pb.JOB_SUCCEEDED)
        await asyncio.Event().wait()

    jobs.feed = feed  # type: ignore[method-assign]
    job = await feeding.submit(asarray(X).sum())
    await job.uploaded(timeout=20)


async def test_a_job_that_has_ended_already_is_not_fed(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    first = await feeding.submit(asarray(X).sum(), key="a")
    await first.uploaded()
    again = await feeding.submit(asarray(X).sum(), key="a")
    await again.uploaded()
    assert await again.result() == X.sum()
    assert jobs.job.feeds == 1


async def test_a_job_that_is_cancelled_needs_no_more(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    uploaded = asyncio.create_task(job.uploaded())
    await job.cancel()
    with pytest.raises(JobCancelledError):
        await uploaded
    with pytest.raises(JobCancelledError):
        await job.uploaded()


async def test_a_job_that_fails_tells_who_uploads(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    jobs.job.message.error.CopyFrom(pb.JobError(reason="WORKER", message="a task killed its workers"))
    jobs.job.now(state=pb.JOB_FAILED)
    for call in (job.uploaded, job.result, job.uploaded):
        with pytest.raises(WorkerError, match="killed its workers"):
            await call()


async def test_a_job_that_was_deleted(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    jobs.cuts = [PIECES]
    job = await running(jobs, feeding)
    jobs.jobs.clear()
    with pytest.raises(JobNotFoundError, match="job0"):
        await job.result(timeout=20)


async def test_a_job_that_is_gone_with_its_server_is_fed_anew(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    jobs.cuts = [3]
    jobs.is_held = True
    job = await feeding.submit(asarray(X).sum(), key="k")
    while jobs.job.feeds < 2 or not jobs.job.has_its_input:
        await jobs.job.changed.wait()
    jobs.is_held = False
    waiting = asyncio.create_task(job.result(timeout=20))
    await jobs.replace()
    await job.uploaded(timeout=20)
    assert await waiting == X.sum()
    assert (jobs.job.request.key, jobs.job.executed, job.id) == ("k", 1, jobs.job.message.id)
    await jobs.replace()
    with pytest.raises(JobNotFoundError):
        await job.result()  # after an upload its arrays are the program's again


async def test_who_waits_may_submit_it_again_before_its_feeder_knows(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    feed = jobs.feed

    async def feed_late(session: Session, attach: pb.Attach) -> None:
        if attach.job_id == "job0":
            await until(lambda: job.id != "job0")
        await feed(session, attach)

    jobs.feed = feed_late  # type: ignore[method-assign]
    jobs.is_held = False
    waiting = asyncio.create_task(job.result(timeout=20))
    await jobs.replace()
    await job.uploaded(timeout=20)
    assert await waiting == X.sum()
    assert jobs.job.executed == 1


async def refuse(jobs: FakeJobServer, error: ArraymillError) -> None:
    async def feed(session: Session, attach: pb.Attach) -> None:
        await fail(session.context, error)

    jobs.feed = feed  # type: ignore[method-assign]


async def test_a_server_that_asks_for_nonsense(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    async def feed(session: Session, attach: pb.Attach) -> None:
        await session.accept()
        await session.want(7, 0, 8)
        await asyncio.Event().wait()

    jobs.feed = feed  # type: ignore[method-assign]
    job = await feeding.submit(asarray(X).sum())
    for call in (job.uploaded, job.result, job.wait):
        with pytest.raises(InternalError, match="asked for input 7 of 1"):
            await call()


async def test_an_upload_that_fails_with_a_deadline_is_no_wait_that_is_over(
    jobs: FakeJobServer, feeding: AsyncClient
) -> None:
    """A proxy has limits of its own; who asked again as long as the job goes on would never end."""
    await refuse(jobs, DeadlineError("the proxy has given up"))
    job = await feeding.submit(asarray(X).sum())
    for call in (job.uploaded, job.result, job.wait):
        with pytest.raises(DeadlineError, match="the proxy has given up") as caught:
            await call()
        assert not isinstance(caught.value, JobNotDoneError)


def errors_alive() -> list[InternalError]:
    return [each for each in gc.get_objects() if isinstance(each, InternalError)]


async def test_a_wait_that_fails_leaves_no_circle(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    jobs.failures["GetJob"] = InternalError("a defect")
    gc.collect()
    gc.disable()
    try:
        before = errors_alive()
        with suppress(InternalError):
            await job.wait()
        await asyncio.sleep(0)  # the event loop itself still held what woke this task
        assert len(errors_alive()) == len(before)
    finally:
        gc.enable()


async def test_an_upload_that_fails_does_not_hide_a_result(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    """Another client may have brought the rest."""
    await refuse(jobs, InternalError("a defect"))
    job = await feeding.submit(asarray(X).sum())
    with pytest.raises(InternalError, match="a defect"):
        await job.uploaded()
    with pytest.raises(InternalError, match="a defect"):
        await job.result()
    jobs.job.pieces = {(0, offset): X.tobytes()[offset : offset + PIECE] for offset in range(0, X.nbytes, PIECE)}
    jobs.execute(jobs.job)
    assert await job.result() == X.sum()


async def test_after_a_failed_upload_whoever_waits_has_all_its_time(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._job.INFORMATION_SECONDS", 0.01)
    await refuse(jobs, InternalError("a defect"))
    job = await feeding.submit(asarray(X).sum())
    with pytest.raises(InternalError, match="a defect"):
        await job.uploaded()
    jobs.answering.clear()
    waiting = asyncio.create_task(job.result(timeout=20))
    await asyncio.wait([waiting], timeout=0.1)
    jobs.job.pieces = {(0, offset): X.tobytes()[offset : offset + PIECE] for offset in range(0, X.nbytes, PIECE)}
    jobs.execute(jobs.job)
    jobs.answering.set()
    assert await waiting == X.sum()


async def test_without_retries_a_cut_ends_the_upload(jobs: FakeJobServer) -> None:
    jobs.info.unary_bytes = 0
    jobs.cuts = [2]
    async with AsyncClient(jobs.address, retry_for=0) as mill:
        job = await mill.submit(asarray(X).sum())
        with pytest.raises(ConnectionFailedError, match="cut"):
            await job.uploaded()
        with pytest.raises(ConnectionFailedError, match="cut"):
            await job.result()
        again = await mill.submit(asarray(X).sum(), key=job.key)
        assert await again.result() == X.sum(), "who submits it again goes on"
    assert sent(jobs) == list(range(0, X.nbytes, PIECE))


async def test_the_client_gives_up_a_server_that_stays_away(
    jobs: FakeJobServer, feeding: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._feeder.UPLOAD_SECONDS", 0.0)
    async with AsyncClient(jobs.address, retry_for=0.2) as mill:
        job = await running(jobs, mill)
        await jobs.stop()
        with pytest.raises(ConnectionFailedError):
            await job.uploaded(timeout=20)


async def test_waiting_for_an_upload_has_a_limit(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    with pytest.raises(DeadlineError):
        await job.uploaded(timeout=0.02)
    jobs.execute(jobs.job)
    await job.uploaded()


@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_closing_the_client_ends_uploads(jobs: FakeJobServer, pause: float) -> None:
    jobs.info.unary_bytes, jobs.is_held = 0, True
    mill = AsyncClient(jobs.address)
    job = await mill.submit(asarray(X).sum())
    await asyncio.sleep(pause)
    await mill.close()
    with pytest.raises(ConnectionFailedError, match="closed"):
        await job.uploaded()


async def test_an_upload_is_a_job_of_the_client(jobs: FakeJobServer, feeding: AsyncClient) -> None:
    job = await running(jobs, feeding)
    assert repr(feeding) == f"<AsyncClient of {jobs.address}: open | 1 running, 0 waiting>"
    assert (await job.status()).state is JobState.RUNNING
    jobs.execute(jobs.job)
    await job.uploaded()
    assert repr(feeding) == f"<AsyncClient of {jobs.address}: open | 0 running, 0 waiting>"


@pytest.mark.parametrize("fails", [False, True])
async def test_after_the_upload_the_job_holds_no_array(jobs: FakeJobServer, feeding: AsyncClient, fails: bool) -> None:
    """Not even until the next full collection of garbage."""
    if fails:
        await refuse(jobs, InternalError("a defect"))
    x = X.copy()
    known = weakref.ref(x)
    job = await feeding.submit(asarray(x).sum())
    del x
    gc.disable()
    try:
        with suppress(InternalError):
            await job.uploaded()
        await asyncio.sleep(0)  # the loop holds what has woken this task
        assert known() is None
    finally:
        gc.enable()
