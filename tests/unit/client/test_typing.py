"""What type checkers know of the clients: mypy and pyright check the assertions, running proves that they hold."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np

import arraymill as am

X = np.arange(6.0).reshape(2, 3)


async def test_the_asynchronous_client(mill: am.AsyncClient) -> None:
    assert_type(await mill.sum(X, axis=0, dtype="f4", keepdims=True), Any)
    assert_type(await mill.argmin(X, 1), Any)
    handle = assert_type(await mill.put(X, name="x"), am.Handle)
    assert isinstance(handle, am.Handle)
    described = assert_type(await mill.array("x"), am.Handle)
    assert isinstance(described, am.Handle)
    arrays = assert_type(await mill.list(), tuple[am.ArrayInfo, ...])
    assert isinstance(arrays[0], am.ArrayInfo)
    info = assert_type(await mill.info(), am.ServerInfo)
    assert isinstance(info, am.ServerInfo)
    assert_type(await mill.delete(handle), None)
    async with mill as same:
        assert_type(same, am.AsyncClient)


async def use_asynchronously(mill: am.AsyncClient) -> None:
    """Never called: a type checker reads it."""
    job = assert_type(await mill.submit(X, ttl=60), am.AsyncJob)
    assert_type(await mill.job("7"), am.AsyncJob)
    assert_type(await mill.jobs(), tuple[am.JobStatus, ...])
    assert_type(await job.result(timeout=3, out=X), Any)
    assert_type(await job.cancel(), am.JobStatus)
    assert_type(await job.uploaded(), None)
    async for status in job.watch():
        assert_type(status.error, am.ArraymillError | None)


def use(mill: am.Client) -> None:
    """Never called: a type checker reads it."""
    assert_type(mill.sum(X, axis=(0, 1), where=X > 1, out=np.zeros(()), timeout=1.0), Any)
    assert_type(mill.compute(am.asarray(X), X, 3, [1, 2]), Any)
    assert_type(mill.put(X, ttl=5), am.Handle)
    assert_type(mill.list(), tuple[am.ArrayInfo, ...])
    assert_type(mill.info(timeout=1), am.ServerInfo)
    assert_type(mill.delete("x"), None)
    assert_type(mill.close(), None)
    job = assert_type(mill.submit(X, am.asarray(X).sum(), key="k", priority=3, deadline=5.0), am.Job)
    assert_type(mill.job("7"), am.Job)
    assert_type(mill.jobs(), tuple[am.JobStatus, ...])
    assert_type(job.result(30), Any)
    assert_type(job.handles(), tuple[am.Handle, ...])
    assert_type(job.status().state, am.JobState)
    for status in job.watch():
        assert_type(status, am.JobStatus)
    job.result(out=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # no array
    with mill as same, am.local() as private:
        assert_type(same, am.Client)
        assert_type(private, am.Client)
    mill.sum(X, axes=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # NumPy's name is axis
    mill.sum()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # of what?
    mill.mean(X, axis="x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # no axis


def test_arrays() -> None:
    a = assert_type(am.asarray(X), am.Array)
    for array in (
        assert_type(a + 1, am.Array),
        assert_type(2.5 - a, am.Array),
        assert_type(a * X, am.Array),
        assert_type(-(abs(a) ** 2), am.Array),
        assert_type((a > 1) & (a != X), am.Array),
        assert_type(a[0, ..., ::2], am.Array),
        assert_type(a.mean(axis=0, where=a > 2), am.Array),
        assert_type(a.astype("f4").clip(0, a), am.Array),
        *assert_type(divmod(a, 2), tuple[am.Array, am.Array]),
    ):
        assert isinstance(array, am.Array)
