"""The synchronous client: the asynchronous one, method by method."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer
from unit.client.fake_server import FakeServer, Session
from unit.client.keyboard import press_ctrl_c

import arraymill as am
from arraymill import AsyncClient, AsyncJob, Client, Job, JobState, JobStatus, Progress, asarray
from arraymill._background import run
from arraymill_proto.errors import AxisError, ConnectionFailedError, DeadlineError, JobNotFoundError

ONLY_ASYNC = {"__aenter__", "__aexit__"}
X = np.arange(20.0).reshape(4, 5)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server on the clients' own loop: several loops would fight over gRPC's poller."""
    server = FakeServer()
    run(server.start)
    yield server
    run(server.stop)


@pytest.fixture
def jobs() -> Iterator[FakeJobServer]:
    server = FakeJobServer()
    run(server.start)
    yield server
    run(server.stop)


@pytest.fixture
def worker(jobs: FakeJobServer) -> Iterator[Client]:
    with Client(jobs.address) as mill:
        yield mill


@pytest.fixture
def mill(server: FakeServer) -> Iterator[Client]:
    with Client(server.address) as mill:
        yield mill


def public(kind: type) -> dict[str, object]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_names() -> None:
    assert set(public(Client)) == set(public(AsyncClient))
    assert {"__enter__", "__exit__"} <= set(dir(Client))


def methods(kind: type) -> list[str]:
    return [name for name, value in public(kind).items() if callable(value)]


RETURNS: dict[tuple[str, type], object] = {
    ("submit", Client): Job,
    ("job", Client): Job,
    ("watch", Job): Generator[JobStatus, None, None],
}
"""What differs from the twin's but for the await."""

PAIRS: list[tuple[type, type, str]] = [
    *((Client, AsyncClient, name) for name in ("__init__", *methods(AsyncClient))),
    *((Job, AsyncJob, name) for name in methods(AsyncJob)),
]


@pytest.mark.parametrize(("kind", "twin", "name"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_both_have_the_same_signatures(kind: type, twin: type, name: str) -> None:
    mine, other = getattr(kind, name), getattr(twin, name)
    assert inspect.signature(mine).parameters == inspect.signature(other).parameters
    if (name, kind) not in RETURNS:
        assert inspect.signature(mine) == inspect.signature(other)
    assert mine.__doc__ == other.__doc__
    assert not inspect.iscoroutinefunction(inspect.unwrap(mine, stop=lambda f: f is mine))
    assert not inspect.isasyncgenfunction(inspect.unwrap(mine, stop=lambda f: f is mine))


@pytest.mark.parametrize(("name", "kind"), RETURNS)
def test_help_tells_what_comes_back(name: str, kind: type) -> None:
    assert inspect.signature(getattr(kind, name)).return_annotation == RETURNS[name, kind]


def test_both_jobs_have_the_same_names() -> None:
    assert set(public(Job)) == {*public(AsyncJob), "id", "key"}


def test_calls(server: FakeServer, mill: Client) -> None:
    assert mill.sum(X) == X.sum()
    assert np.array_equal(mill.compute(asarray(X) * 2), X * 2)
    total, mean = mill.compute(asarray(X).sum(), asarray(X).mean(axis=0))
    assert total == X.sum()
    assert np.array_equal(mean, X.mean(axis=0))
    handle = mill.put(X, name="x")
    assert np.array_equal(mill.get(handle[1]), X[1])
    assert [info.id for info in mill.list()] == ["x"]
    mill.delete("x")
    assert mill.info().version == "9.9"
    assert mill.address == server.address


def test_errors(mill: Client) -> None:
    with pytest.raises(AxisError):
        mill.sum(X, axis=7)


WRONG_CALLS: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "plain": (lambda mill, job: mill.sum(X, axs=1), r"Client\.sum\(\)"),
    "plain, missing": (lambda mill, job: mill.sum(), r"Client\.sum\(\)"),
    "a job": (lambda mill, job: mill.submit(X, kee="a"), r"Client\.submit\(\)"),
    "a job, missing": (lambda mill, job: mill.job(), r"Client\.job\(\)"),
    "iterating": (lambda mill, job: job.watch(timeut=1), r"Job\.watch\(\)"),
    "iterating, too many": (lambda mill, job: job.watch(1, 2), r"Job\.watch\(\)"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_wrong_arguments_are_told_at_once(worker: Client, name: str) -> None:
    job = worker.submit(X)
    call, told = WRONG_CALLS[name]
    with pytest.raises(TypeError, match=f"^{told} .*argument"):
        call(worker, job)
    assert job.status().has_ended, "the client is unharmed"


def test_repr(server: FakeServer, mill: Client) -> None:
    assert repr(mill) == f"<Client of {server.address}: open | 0 running, 0 waiting>"


def test_threads_share_a_client(mill: Client) -> None:
    def total(number: int) -> int:
        return int(mill.sum(np.full(10, number)))

    with ThreadPoolExecutor(8) as threads:
        totals = list(threads.map(total, range(100)))
    assert totals == [10 * number for number in range(100)]


async def test_a_notebook_may_use_it(server: FakeServer) -> None:
    """There a loop already runs in the thread."""
    with Client(server.address) as mill:
        assert mill.sum(X) == X.sum()


def test_a_progress_function_cannot_call_it(mill: Client) -> None:
    def progress(_: Progress) -> None:
        mill.info()

    with pytest.raises(RuntimeError, match="use AsyncClient"):
        mill.sum(X, progress=progress)


def test_ctrl_c_cancels_the_job(server: FakeServer, mill: Client) -> None:
    async def hang(session: Session) -> None:
        press_ctrl_c(after=0.05)
        await asyncio.Event().wait()

    server.run = hang
    with pytest.raises(KeyboardInterrupt):
        mill.put(X)
    run(asyncio.wait_for, server.cancelled.wait(), 5)
    assert mill.sum(X) == X.sum(), "the client must be unharmed"


def test_closing_ends_jobs_of_other_threads(server: FakeServer) -> None:
    async def hang(session: Session) -> None:
        server.hangs.set()
        await asyncio.Event().wait()

    server.run = hang
    mill = Client(server.address)
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(mill.put, X)
        run(asyncio.wait_for, server.hangs.wait(), 5)
        mill.close()
        with pytest.raises(ConnectionFailedError, match="is closed"):
            job.result(5)
    with pytest.raises(ConnectionFailedError, match="is closed"):
        mill.info()
    mill.close()


def test_nobody_listens() -> None:
    with am.Client("127.0.0.1:1") as mill, pytest.raises(ConnectionFailedError, match="is the server running"):
        mill.sum(X)


# ------------------------------------------------------------------ submitted jobs


def test_a_life_of_a_job(jobs: FakeJobServer, worker: Client) -> None:
    job = worker.submit(asarray(X).sum(), key="nightly", priority=7)
    assert isinstance(job, Job)
    assert (job.id, job.key) == ("job0", "nightly")
    assert job.result() == job.result(10) == X.sum()
    assert job.wait().state is job.status().state is JobState.SUCCEEDED
    (total,) = job.handles()
    assert worker.compute(total + 1) == X.sum() + 1
    assert [status.key for status in worker.jobs()] == ["nightly"]
    again = worker.job(job.id)
    assert repr(again) == "<Job job0: succeeded>"
    again.delete()
    with pytest.raises(JobNotFoundError):
        job.cancel()


def test_an_upload_on_the_background_thread(jobs: FakeJobServer, worker: Client) -> None:
    jobs.info.unary_bytes = 0
    job = worker.submit(asarray(X) * 2)
    job.uploaded()
    assert np.array_equal(job.result(), X * 2)


def test_watching(jobs: FakeJobServer, worker: Client) -> None:
    jobs.is_held = True
    job = worker.submit(X)
    seen: list[JobState] = []
    for status in job.watch(timeout=10):
        seen.append(status.state)
        run(ended, jobs)
    assert seen == [JobState.QUEUED, JobState.SUCCEEDED]
    assert [status.state for status in job.watch()] == [JobState.SUCCEEDED]


async def ended(jobs: FakeJobServer) -> None:
    if not jobs.job.has_ended:
        jobs.execute(jobs.job)


def test_leaving_a_watch_early(jobs: FakeJobServer, worker: Client) -> None:
    jobs.is_held = True
    job = worker.submit(X)
    for _ in job.watch():
        break
    events = job.watch(timeout=0.05)
    assert next(events).state is JobState.QUEUED
    with pytest.raises(DeadlineError):
        next(events)


def test_ctrl_c_ends_the_wait_and_not_the_job(jobs: FakeJobServer, worker: Client) -> None:
    jobs.is_held = True
    job = worker.submit(asarray(X).sum())
    press_ctrl_c(after=0.05)
    with pytest.raises(KeyboardInterrupt):
        job.result()
    run(ended, jobs)
    assert job.result() == X.sum()


AT_THE_END = """
import sys
import arraymill as am
mill = am.Client(sys.argv[1])
events = mill.job("job0").watch()
print(next(events).state)
"""


def test_a_watch_that_is_open_when_the_process_ends_says_nothing(jobs: FakeJobServer, worker: Client) -> None:
    jobs.is_held = True
    worker.submit(X)
    command = [sys.executable, "-c", AT_THE_END, jobs.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("queued\n", "")
