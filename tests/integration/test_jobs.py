"""Submitted jobs on a real server: from several processes, through cuts, to every end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from links import Link, link_to
from numpy.typing import NDArray
from servers import RunningServer, running_server

import arraymill as am

X: NDArray[np.float64] = np.random.default_rng(7).random((500, 2000))
"""8 MB: too much to go with a submission."""

SMALL = np.arange(1000.0)

SECONDS = 60


@pytest_asyncio.fixture
async def mill(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    """A client; no job and no result of the test is left."""
    async with am.AsyncClient(server.address) as mill:
        yield mill
        for status in await mill.jobs():
            job = await mill.job(status.id)
            if not status.has_ended:
                await job.cancel()
            await job.delete()
        assert await mill.jobs() == ()
        assert await mill.list() == ()


@pytest_asyncio.fixture
async def link(server: RunningServer) -> AsyncIterator[Link]:
    async with link_to(server.address) as link:
        yield link


def expression() -> am.Array:
    x = am.asarray(X)
    return ((x - x.mean()) / x.std()).max(axis=0)


VALUE = ((X - X.mean()) / X.std()).max(axis=0)


# ------------------------------------------------------------------ a life


@pytest.mark.parametrize("x", [SMALL, X], ids=["inline", "fed"])
async def test_a_life(mill: am.AsyncClient, x: NDArray[np.float64]) -> None:
    job = await mill.submit(np.sqrt(am.asarray(x)).sum(), am.asarray(x).max(axis=0), priority=9, deadline=SECONDS)
    states = [status.state async for status in job.watch()]
    assert states[-1] is am.JobState.SUCCEEDED
    total, rows = await job.result(timeout=SECONDS)
    np.testing.assert_allclose(total, np.sqrt(x).sum(), rtol=1e-12)
    assert np.array_equal(rows, x.max(axis=0))
    await job.uploaded()
    status = await job.status()
    assert (status.priority, status.error, status.deadline_in_seconds) == (9, None, None)
    assert status.received_bytes == status.input_bytes == (x.nbytes if x is X else 0)
    assert status.blocks_done == status.blocks > 0
    assert status.times is not None
    assert status.times.total > 0
    assert [each.id for each in await mill.jobs()] == [job.id]
    _, handle = await job.handles()
    np.testing.assert_allclose(await mill.compute((handle * 2).sum()), x.max(axis=0).sum() * 2)
    with pytest.raises(am.JobEndedError, match="has ended already: it has succeeded"):
        await job.cancel()
    await job.delete()
    for call in (job.status, job.result, job.cancel, job.delete, job.wait):
        with pytest.raises(am.JobNotFoundError, match=job.id):
            await call()
    with pytest.raises(am.JobNotFoundError):
        await anext(job.watch())


async def test_an_expression_of_several_passes(mill: am.AsyncClient) -> None:
    job = await mill.submit(expression())
    np.testing.assert_allclose(await job.result(), VALUE)
    out = np.empty_like(VALUE)
    assert await job.result(out=out) is out, "a result may be fetched again"
    np.testing.assert_allclose(out, VALUE)


async def test_many_at_once(mill: am.AsyncClient) -> None:
    arrays = [np.full(200_000 if number % 5 else 10, number) for number in range(40)]
    jobs = await asyncio.gather(*(mill.submit(am.asarray(x).sum()) for x in arrays))
    assert await asyncio.gather(*(job.result() for job in jobs)) == [x.sum() for x in arrays]
    assert len(await mill.jobs()) == 40


async def test_the_synchronous_client(server: RunningServer, mill: am.AsyncClient) -> None:
    def use() -> None:
        with am.Client(server.address) as client:
            job = client.submit(am.asarray(X).sum(), key="of a client".replace(" ", "-"))
            job.uploaded()
            assert [status.state for status in job.watch()][-1] is am.JobState.SUCCEEDED
            np.testing.assert_allclose(job.result(), X.sum())
            np.testing.assert_allclose(client.job(job.id).result(), X.sum())

    await asyncio.to_thread(use)


# ------------------------------------------------------------------ keys and other processes

SUBMIT = """
import sys, numpy as np, arraymill as am
address, key = sys.argv[1:]
x = np.random.default_rng(7).random((500, 2000))
with am.Client(address) as mill:
    job = mill.submit(am.asarray(x).sum(axis=0).max(), key=key)
    print(job.id, job.result().hex())
"""

FETCH = """
import sys, arraymill as am
address, id = sys.argv[1:]
with am.Client(address) as mill:
    print(mill.job(id).result().hex())
"""

SUBMIT_AND_HANG = """
import sys, threading, numpy as np, arraymill as am
address, key = sys.argv[1:]
x = np.random.default_rng(7).random((500, 2000))
mill = am.Client(address, bulk=False)
job = mill.submit(am.asarray(x).sum(axis=0).max(), key=key)
for status in job.watch():
    if status.received_bytes:
        break
print(job.id, flush=True)
threading.Event().wait()
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


async def said(process: subprocess.Popen[str]) -> list[str]:
    """What a process printed when it had ended well."""
    text, _ = await asyncio.to_thread(process.communicate, timeout=SECONDS)
    assert process.returncode == 0
    return text.split()


async def test_a_key_from_several_processes_is_one_job(server: RunningServer, mill: am.AsyncClient) -> None:
    processes = [start(SUBMIT, server.address, "shared") for _ in range(3)]
    answers = {tuple(await said(process)) for process in processes}
    ((id, value),) = answers
    np.testing.assert_allclose(float.fromhex(value), X.sum(axis=0).max())
    (status,) = await mill.jobs()
    assert (status.id, status.key) == (id, "shared")
    assert status.received_bytes == X.nbytes, "it was executed once"
    with pytest.raises(am.JobKeyError, match=f"the key 'shared' is that of job {id}"):
        await mill.submit(am.asarray(X).min(), key="shared")


async def test_another_process_fetches_by_id(server: RunningServer, mill: am.AsyncClient) -> None:
    job = await mill.submit(am.asarray(X).sum(axis=0).max())
    (value,) = await said(start(FETCH, server.address, job.id))
    assert float.fromhex(value) == await job.result()


async def test_another_process_goes_on_with_an_upload(server: RunningServer, link: Link, mill: am.AsyncClient) -> None:
    link.delay = 0.05  # some 16 times for each 1 MiB: there is time to be killed
    first = start(SUBMIT_AND_HANG, link.address, "taken-over")
    assert first.stdout is not None
    id = (await asyncio.to_thread(first.stdout.readline)).strip()
    first.kill()
    first.communicate()
    job = await mill.job(id)
    status = await job.status()
    assert not status.has_ended
    again = await mill.submit(am.asarray(X).sum(axis=0).max(), key="taken-over")
    assert again.id == id
    np.testing.assert_allclose(await job.result(timeout=SECONDS), X.sum(axis=0).max())
    assert (await job.status()).received_bytes == X.nbytes


# ------------------------------------------------------------------ cuts


@pytest.mark.parametrize("after", [0, 1000, 1 << 20, 3 << 20])
async def test_an_upload_survives_cuts(link: Link, mill: am.AsyncClient, after: int) -> None:
    async with am.AsyncClient(link.address, bulk=False) as cut:
        await cut.info()
        link.cut_after = link.passed + after
        submitting = asyncio.create_task(cut.submit(expression()))
        for _ in range(4):
            await until_cut(link)
            link.cut_after = link.passed + (1 << 20)
        await until_cut(link)
        link.cut_after = None
        job = await submitting
        np.testing.assert_allclose(await job.result(timeout=SECONDS), VALUE)
        await job.uploaded()
    assert len(await mill.jobs()) == 1


async def until_cut(link: Link) -> None:
    assert link.cut_after is not None
    async with asyncio.timeout(SECONDS):
        while link.passed <= link.cut_after:  # noqa: ASYNC110  # the link counts, and tells nobody
            await asyncio.sleep(0.005)


async def test_watching_and_waiting_survive_cuts(link: Link, mill: am.AsyncClient) -> None:
    """The job waits for its input; its client's link breaks again and again."""
    async with am.AsyncClient(link.address) as cut:
        link.delay = 0.01
        job = await cut.submit(am.asarray(X).sum())
        waiting = asyncio.create_task(job.result(timeout=SECONDS))
        seen: list[am.JobState] = []
        async for status in job.watch(timeout=SECONDS):
            if len(seen) < 3:
                link.cut()
            seen.append(status.state)
        np.testing.assert_allclose(await waiting, X.sum())
        assert seen[-1] is am.JobState.SUCCEEDED


@pytest.mark.parametrize("size", [10, 100_000])
async def test_calls_survive_cuts(link: Link, size: int) -> None:
    x = np.arange(float(size))
    async with am.AsyncClient(link.address) as cut:
        await cut.info()
        for after in (0, 50, size * 4):
            link.cut_after = link.passed + after
            calling = asyncio.create_task(cut.compute(am.asarray(x) * 2))
            await until_cut(link)
            link.cut_after = None
            assert np.array_equal(await calling, x * 2)
            link.cut()
            assert (await cut.info()).workers == 2


# ------------------------------------------------------------------ the server goes


async def test_clients_outlive_a_server_that_is_replaced() -> None:
    """Its jobs are gone with it: they are submitted again to the next one."""
    with running_server("--log-level", "error") as first:
        async with am.AsyncClient(first.address) as mill:
            calls = [asyncio.ensure_future(mill.compute(np.exp(am.asarray(X)) * number)) for number in range(10)]
            job = await mill.submit(am.asarray(SMALL).sum(), key="before")
            assert await job.result() == SMALL.sum()
            first.process.kill()
            first.process.wait(SECONDS)
            waiting = asyncio.ensure_future(job.result())
            with running_server("--listen", first.address, "--log-level", "error"):
                for number, value in enumerate(await asyncio.gather(*calls)):
                    np.testing.assert_allclose(value, np.exp(X) * number)
                assert await waiting == SMALL.sum()
                assert [status.key for status in await mill.jobs()] == ["before"]
                await job.delete()
                with pytest.raises(am.JobNotFoundError, match=job.id):
                    await job.result()


async def test_new_work_goes_to_the_next_server_while_the_old_one_ends_its_jobs() -> None:
    with running_server("--drain", "30", "--log-level", "error") as first:
        async with am.AsyncClient(first.address, retry_for=10) as mill:
            async with link_to(first.address) as slow, am.AsyncClient(slow.address) as other:
                slow.delay = 0.01
                job = await other.submit(am.asarray(np.tile(X, 4)).sum())
                with running_server("--listen", first.address, "--take-over", "--log-level", "error"):
                    await mill.info()
                    first.process.send_signal(signal.SIGTERM)
                    jobs = [await mill.submit(am.asarray(x).sum()) for x in (SMALL, X)]
                    values = [await each.result() for each in jobs]
                    np.testing.assert_allclose([*values, await mill.sum(X)], [SMALL.sum(), X.sum(), X.sum()])
                    assert first.process.poll() is None, "else nothing was shown"
                    np.testing.assert_allclose(await job.result(timeout=SECONDS), X.sum() * 4)
            assert await asyncio.to_thread(first.process.wait, SECONDS) == 0


# ------------------------------------------------------------------ other ends


async def test_cancel(link: Link, mill: am.AsyncClient) -> None:
    async with am.AsyncClient(link.address) as slow:
        job = await slow.submit(am.asarray(X).sum())
        link.is_silent = True
        control = await mill.job(job.id)
        assert (await control.cancel()).state is am.JobState.CANCELLED
        link.is_silent = False
        link.cut()  # what it has swallowed will never come
        with pytest.raises(am.JobCancelledError, match=f"job {job.id} was cancelled"):
            await job.uploaded()
        with pytest.raises(am.JobCancelledError, match=f"job {job.id} was cancelled"):
            await job.result()
        assert (await job.cancel()).state is am.JobState.CANCELLED


async def test_a_deadline_stops_a_job(link: Link, mill: am.AsyncClient) -> None:
    async with am.AsyncClient(link.address) as slow:
        link.delay = 0.1
        job = await slow.submit(am.asarray(X).sum(), deadline=0.5)
        with pytest.raises(am.DeadlineError, match=rf"job {job.id} had not ended after 0\.5 s, its deadline") as caught:
            await (await mill.job(job.id)).result()
        assert caught.value.details["deadline_seconds"] == "0.5"
        link.delay = 0.0
        with pytest.raises(am.DeadlineError):
            await job.uploaded()


async def test_a_job_that_fails(mill: am.AsyncClient) -> None:
    job = await mill.submit(am.asarray(np.arange(5)) ** am.asarray(-np.arange(5)))
    for _ in range(2):
        with pytest.raises(am.ComputationError, match="negative integer powers"):
            await job.result()
    status = await job.status()
    assert status.state is am.JobState.FAILED
    assert isinstance(status.error, ValueError)


async def test_a_result_that_has_expired(mill: am.AsyncClient) -> None:
    job = await mill.submit(am.asarray(SMALL).sum(), ttl=0.05)
    assert (await job.wait()).state is am.JobState.SUCCEEDED
    await asyncio.sleep(0.1)
    with pytest.raises(am.ResultExpiredError, match="submit it again"):
        await job.result()


async def test_a_result_that_was_deleted(mill: am.AsyncClient) -> None:
    job = await mill.submit(am.asarray(SMALL).sum())
    (handle,) = await job.handles()
    await mill.delete(handle)
    with pytest.raises(am.ResultExpiredError):
        await job.result()
    with pytest.raises(am.ArrayNotFoundError):
        await mill.get(handle)


async def test_a_job_that_can_never_fit(mill: am.AsyncClient) -> None:
    with pytest.raises(am.TooLargeError) as caught:
        await mill.submit(am.asarray(np.broadcast_to(np.ones(1), (1 << 30,))) * 2)
    assert any(character.isdigit() for character in str(caught.value))
    assert await mill.jobs() == ()


async def test_ids_that_nobody_has(mill: am.AsyncClient) -> None:
    for id in ("", "nothing", "x" * 128, "\n", "é"):
        with pytest.raises(am.JobNotFoundError, match="no submitted job"):
            await mill.job(id)
    with pytest.raises(am.ParameterError, match="id has 5,000,000 characters"):
        await mill.job("x" * 5_000_000)
