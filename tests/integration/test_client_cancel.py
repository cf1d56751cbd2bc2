"""Calls that end before their time: nothing of them may be left, on either side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import pytest_asyncio
from servers import RunningServer

import arraymill as am
from arraymill import _pipeline

Job: TypeAlias = Callable[[am.AsyncClient], Awaitable[Any]]

X = np.random.default_rng(0).random((1500, 1000))
STRIDED = np.asfortranarray(X)[::2]

JOBS: dict[str, Job] = {
    "a small job": lambda mill: mill.sum([1, 2]),
    "a reduction": lambda mill: mill.sum(X),
    "a reduction of gathered rows": lambda mill: mill.mean(STRIDED, axis=0),
    "a transform": lambda mill: mill.transform("sqrt", X),
    "two passes": lambda mill: mill.compute(am.asarray(X) - am.asarray(X).mean()),
    "a scan": lambda mill: mill.transform("cumsum", X, axis=0),
    "a kept array": lambda mill: mill.put(X),
    "information": lambda mill: mill.info(),
}


@pytest_asyncio.fixture
async def mill(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    """A client of a server that is as it was when the test has ended."""
    async with am.AsyncClient(server.address) as mill:
        yield mill
        for array in await mill.list():
            await mill.delete(array.id)
        await wait_idle(mill)
        assert await mill.sum(X) == X.sum()


async def wait_idle(mill: am.AsyncClient) -> None:
    """Wait until the server runs nothing and holds nothing."""
    async with asyncio.timeout(20):
        while True:
            info = await mill.info()
            if not info.running_jobs and not info.waiting_jobs and info.arena_free_bytes == info.arena_bytes:
                return
            await asyncio.sleep(0.02)


def own_tasks(*, is_open: bool = True) -> list[asyncio.Task[Any]]:
    """Tasks of the client that have not ended; gRPC ends its own a moment later.

    The two that serve the stream of small jobs are no job's: they end with the client that is open.
    """
    package = str(Path(am.__file__).parent)
    sources = {task: _source(task.get_coro()) for task in asyncio.all_tasks()}
    lasting = _pipeline.__file__ if is_open else ""
    return [task for task, source in sources.items() if package in source and source != lasting]


def _source(coroutine: Any) -> str:
    """The file that defines a coroutine; empty for those that are not written in Python."""
    code = getattr(coroutine, "cr_code", None)
    return "" if code is None else code.co_filename


async def cancel_somewhere(job: Awaitable[Any], rng: random.Random) -> bool:
    """Cancel a job after some turns of the loop or some milliseconds, once or twice; tell whether it was in time."""
    task = asyncio.ensure_future(job)
    if rng.random() < 0.5:
        for _ in range(rng.randrange(80)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.random() ** 2 * 0.05)
    task.cancel()
    if rng.random() < 0.3:
        await asyncio.sleep(0)
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("name", JOBS)
async def test_a_job_that_is_cancelled_anywhere_leaves_nothing(mill: am.AsyncClient, name: str) -> None:
    rng = random.Random(name)
    for _ in range(12):
        await cancel_somewhere(JOBS[name](mill), rng)
        assert not own_tasks()


async def test_cancelling_the_very_first_call(server: RunningServer, mill: am.AsyncClient) -> None:
    """The one question to the server that all calls share is cancelled with the last of them."""
    rng = random.Random(1)
    for _ in range(20):
        async with am.AsyncClient(server.address) as fresh:
            await cancel_somewhere(fresh.sum([1]), rng)
            assert not own_tasks()
            assert await fresh.sum([1, 2]) == 3


async def test_cancelling_one_of_many_leaves_the_others_alone(mill: am.AsyncClient) -> None:
    jobs = [asyncio.ensure_future(mill.sum(X + number)) for number in range(20)]
    await asyncio.sleep(0.05)
    for job in jobs[::2]:
        job.cancel()
    kept = await asyncio.gather(*jobs[1::2])
    np.testing.assert_allclose(kept, [X.sum() + number * X.size for number in range(1, 20, 2)])
    await asyncio.wait(jobs)


async def test_a_deadline_frees_the_server(mill: am.AsyncClient) -> None:
    rng = random.Random(2)
    for _ in range(20):
        with suppress(am.DeadlineError):
            await mill.transform("sqrt", X, timeout=rng.random() * 0.03 + 1e-4)
    assert not own_tasks()


async def test_deadlines_of_those_who_wait_for_their_turn(server: RunningServer, mill: am.AsyncClient) -> None:
    """More jobs than the client lets run, more memory than the server has."""
    outcomes = await asyncio.gather(
        *(mill.compute(am.asarray(X) * number, timeout=0.3) for number in range(300)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} <= {np.ndarray, am.DeadlineError}
    assert repr(mill) == f"<AsyncClient of {server.address}: open | 0 running, 0 waiting>"


async def test_closing_ends_everything_that_is_under_way(server: RunningServer, mill: am.AsyncClient) -> None:
    before = set(own_tasks(is_open=False))
    closing = am.AsyncClient(server.address)
    jobs = [asyncio.ensure_future(job(closing)) for job in JOBS.values() for _ in range(3)]
    await asyncio.sleep(0.01)
    await closing.close()
    for outcome in await asyncio.gather(*jobs, return_exceptions=True):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, am.ConnectionFailedError), repr(outcome)
    async with asyncio.timeout(20):
        while closed := set(own_tasks(is_open=False)) - before:
            await asyncio.wait(closed)
    with pytest.raises(am.ConnectionFailedError, match="is closed"):
        await closing.sum(X)


async def test_an_error_beside_others_leaves_them_alone(mill: am.AsyncClient) -> None:
    ones = np.ones((300, 1000), np.int64)
    outcomes = await asyncio.gather(
        *(mill.transform("power", ones, -ones) if number % 2 else mill.sum(ones) for number in range(40)),
        return_exceptions=True,
    )
    assert outcomes[::2] == [300_000] * 20
    assert {type(outcome) for outcome in outcomes[1::2]} == {am.ComputationError}


async def test_a_progress_function_that_raises_cancels_its_job(mill: am.AsyncClient) -> None:
    def progress(_: am.Progress) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await mill.compute(am.asarray(X) * 2, progress=progress)
    assert not own_tasks()
