"""Calls that are made again, each in its own way, and calls that are not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from unit.client.fake_server import FakeServer, Session, fail, honest

from arraymill import AsyncClient, Progress, asarray
from arraymill._caller import SMALL_BYTES
from arraymill._connection import Connection
from arraymill._limits import INFORMATION_SECONDS, JOB_SECONDS
from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    AxisError,
    BusyError,
    ConnectionFailedError,
    Reason,
    UnknownOperationError,
)

X = np.linspace(-2.0, 2.0, 60).reshape(3, 20)
BUSY = BusyError("full", retry_after=0.001)
SHUTTING_DOWN = ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest_asyncio.fixture
async def mill(server: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as mill:
        yield mill


@pytest_asyncio.fixture
async def streaming(server: FakeServer) -> AsyncIterator[AsyncClient]:
    server.info.unary_bytes = 0
    async with AsyncClient(server.address) as mill:
        yield mill


def failing(server: FakeServer, *errors: ArraymillError | None) -> None:
    """Let the next streams fail after they have received their input; None: the connection is lost."""
    left = list(errors)

    async def run(session: Session) -> None:
        if not left:
            await honest(session)
            return
        await session.accept()
        await session.fetch_all()
        error = left.pop(0)
        if error is None:
            await session.context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        else:
            await fail(session.context, error)

    server.run = run


QUESTIONS: dict[str, tuple[str, Callable[[AsyncClient], Awaitable[Any]]]] = {
    "info": ("GetServerInfo", lambda mill: mill.info()),
    "list": ("ListArrays", lambda mill: mill.list()),
    "array": ("DescribeArray", lambda mill: mill.array("x")),
    "delete": ("DeleteArray", lambda mill: mill.delete("x")),
    "a small job": ("Compute", lambda mill: mill.sum(X)),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_every_unary_call_is_made_again(server: FakeServer, mill: AsyncClient, name: str) -> None:
    method, call = QUESTIONS[name]
    server.keep(X, "x")
    await mill.info()
    before = server.calls[method]
    server.refusals[method] = [BUSY, ConnectionFailedError("lost"), SHUTTING_DOWN]
    server.lost[method] = 1
    await call(mill)
    # After a lost connection the server's information is asked for anew.
    assert server.calls[method] - before >= 5


@pytest.mark.parametrize("name", QUESTIONS)
async def test_other_errors_are_told_at_once(server: FakeServer, mill: AsyncClient, name: str) -> None:
    method, call = QUESTIONS[name]
    await mill.info()
    before = server.calls[method]
    server.failures[method] = AxisError("axis 7")
    with pytest.raises(AxisError):
        await call(mill)
    assert server.calls[method] == before + 1


async def test_a_deletion_that_is_repeated_finds_nothing_and_that_is_well(
    server: FakeServer, mill: AsyncClient
) -> None:
    server.keep(X, "x")
    server.lost["DeleteArray"] = 2
    await mill.delete("x")
    assert server.calls["DeleteArray"] == 2
    with pytest.raises(ArrayNotFoundError, match="no resident array 'x'"):
        await mill.delete("x")


@pytest.mark.parametrize("error", [None, BUSY, SHUTTING_DOWN])
async def test_a_stream_that_fails_is_run_again(
    server: FakeServer, streaming: AsyncClient, error: ArraymillError | None
) -> None:
    failing(server, error, error, error)
    seen: list[Progress] = []
    assert await streaming.sum(X, progress=seen.append) == X.sum()
    assert server.calls["Run"] == 4
    assert np.array_equal(await streaming.transform("sqrt", X * X), np.abs(X))
    assert seen[-1].times is not None


async def test_an_out_that_is_an_input_is_right_after_a_second_run(server: FakeServer, streaming: AsyncClient) -> None:
    """Its first run has already sent a wrong result when it fails."""
    x = X.copy()

    async def run(session: Session) -> None:
        if server.calls["Run"] > 1:
            await honest(session)
            return
        await session.header([X])
        await session.results([X * 0 + 7])
        await asyncio.sleep(0.02)
        await session.context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")

    server.run = run
    assert await streaming.compute(asarray(x)[::-1] * 2, out=x) is x
    assert server.calls["Run"] == 2
    assert np.array_equal(x, X[::-1] * 2)


async def test_an_out_in_the_file_of_an_input_forbids_a_second_run(
    server: FakeServer, streaming: AsyncClient, tmp_path: Path
) -> None:
    for name in ("x.npy", "y.npy"):
        np.save(tmp_path / name, X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    failing(server, None)
    with pytest.raises(ConnectionFailedError):
        await streaming.compute(asarray(x) * 2, out=np.load(tmp_path / "x.npy", mmap_mode="r+"))
    failing(server, None)
    out = np.load(tmp_path / "y.npy", mmap_mode="r+")
    await streaming.compute(asarray(x) * 2, out=out)
    assert np.array_equal(out, X * 2)


@pytest.mark.parametrize("name", ["", "x"])
async def test_a_put_whose_fate_nobody_knows_is_not_made_again(
    server: FakeServer, streaming: AsyncClient, name: str
) -> None:
    failing(server, None)
    with pytest.raises(ConnectionFailedError):
        await streaming.put(X, name=name)
    assert server.calls["Run"] == 1


@pytest.mark.parametrize("error", [BUSY, SHUTTING_DOWN])
async def test_a_put_that_was_refused_is_made_again(
    server: FakeServer, streaming: AsyncClient, error: ArraymillError
) -> None:
    failing(server, error)
    handle = await streaming.put(X, name="x")
    assert np.array_equal(server.arrays[handle.id], X)


async def test_a_put_waits_for_the_server_to_come_back(server: FakeServer, mill: AsyncClient) -> None:
    await mill.info()
    await server.stop()
    with pytest.raises(ArraymillError):  # its end is noticed: a put that the connection takes along is not made again
        await mill.info(timeout=0.2)
    putting = asyncio.create_task(mill.put(X, name="x"))
    await asyncio.sleep(0.05)
    await server.start()
    assert (await putting).id == "x"


async def test_jobs_wait_for_the_server_to_come_back(server: FakeServer, mill: AsyncClient) -> None:
    await mill.info()
    await server.stop()
    jobs = [asyncio.create_task(mill.sum(np.full(size, 2.0))) for size in (10, SMALL_BYTES)]
    await asyncio.sleep(0.05)
    await server.start()
    assert await asyncio.gather(*jobs) == [20.0, 2.0 * SMALL_BYTES]


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async with AsyncClient("127.0.0.1:1", retry_for=3600) as mill, asyncio.timeout(10):
        with pytest.raises(ConnectionFailedError, match="Start one with: arraymill serve"):
            await mill.sum(X)
        with pytest.raises(ConnectionFailedError, match="Start one with: arraymill serve"):
            await mill.info()


async def test_a_server_that_stays_away_is_given_up(server: FakeServer) -> None:
    async with AsyncClient(server.address, retry_for=0.1) as mill:
        await mill.info()
        await server.stop()
        for call in (mill.sum(X), mill.info(), mill.submit(X)):
            with pytest.raises(ConnectionFailedError):
                await call


async def test_no_call_is_tried_again_beyond_its_time(server: FakeServer, mill: AsyncClient) -> None:
    server.refusals["Compute"] = [BUSY] * 3
    server.failures["Compute"] = BusyError("full for an hour", retry_after=3600)
    async with asyncio.timeout(30):  # it does not wait for its time to pass either
        with pytest.raises(BusyError, match="for an hour"):
            await mill.sum(X, timeout=60)
    assert server.calls["Compute"] == 4


async def test_closing_ends_what_would_be_tried_again(server: FakeServer, mill: AsyncClient) -> None:
    server.refusals["Compute"] = [BUSY] * 3
    server.failures["Compute"] = BusyError("full", retry_after=3600)
    job = asyncio.create_task(mill.sum(X, timeout=float("inf")))
    await server.reached["Compute"].wait()
    await mill.close()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await job


LIMITS: dict[str, tuple[Callable[[AsyncClient], Awaitable[Any]], str, float | None]] = {
    "information": (lambda mill: mill.info(), "GetServerInfo", INFORMATION_SECONDS),
    "a list": (lambda mill: mill.list(), "ListArrays", INFORMATION_SECONDS),
    "a small job": (lambda mill: mill.sum(X), "Compute", JOB_SECONDS),
    "a large job": (lambda mill: mill.sum(np.zeros(10**5)), "Run", JOB_SECONDS + 800),
    "without end": (lambda mill: mill.sum(np.zeros(10**5), timeout=float("inf")), "Run", None),
    "as it says": (lambda mill: mill.sum(X, timeout=7), "Compute", 7),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_every_call_has_a_deadline_that_the_server_knows(
    server: FakeServer, mill: AsyncClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill._limits.SLOWEST_RATE", 1e3)
    call, method, seconds = LIMITS[name]
    await mill.info()
    await call(mill)
    left = server.deadlines[method]
    if seconds is None:
        assert left is None
    else:
        assert left is not None
        assert seconds - 5 < left <= seconds + 10, "gRPC rounds long times"


async def test_an_operation_that_only_the_client_knows(server: FakeServer, mill: AsyncClient) -> None:
    server.failures["Compute"] = UnknownOperationError("there is no operation 'sum'", operation="sum")
    with pytest.raises(UnknownOperationError) as caught:
        await mill.sum(X)
    assert str(caught.value).startswith("there is no operation 'sum' (the server at ")
    assert "is arraymill 9.9, this is arraymill " in str(caught.value)
    assert caught.value.details["operation"] == "sum"
    assert caught.value.details["server_version"] == "9.9"


# ------------------------------------------------------------------ servers that shut down


async def test_all_connections_of_a_client_bear_one_name(server: FakeServer) -> None:
    async with AsyncClient(server.address) as one, AsyncClient(server.address) as other:
        await one.sum(X)
        server.leaving = set(server.peers)
        await asyncio.gather(one.sum(X), one.put(X))
        assert len(server.clients) == 1
        await other.info()
    assert len(server.clients) == 2
    assert len(server.peers) == 3


async def test_new_work_goes_to_another_connection_and_running_work_stays(
    server: FakeServer, streaming: AsyncClient
) -> None:
    leaves, go_on = asyncio.Event(), asyncio.Event()

    async def run(session: Session) -> None:
        if server.calls["Run"] == 1:
            await session.accept()
            server.leaving = set(server.peers)
            leaves.set()
            await go_on.wait()
        await honest(session)

    server.run = run
    running = asyncio.create_task(streaming.sum(X))
    await leaves.wait()
    values = await asyncio.gather(*(streaming.sum(X + number) for number in range(20)))
    assert values == [(X + number).sum() for number in range(20)]
    go_on.set()
    assert await running == X.sum()
    assert server.calls["Run"] <= 41, "each was refused once at most"
    assert len(server.peers) == 2


async def test_a_client_of_many_restarts_keeps_one_connection(server: FakeServer, mill: AsyncClient) -> None:
    for _ in range(5):
        server.leaving = set(server.peers)
        assert await mill.sum(X) == X.sum()
    gc.collect()
    mine = [each for each in gc.get_objects() if isinstance(each, Connection) and each.address == server.address]
    assert len(mine) == 1
