"""The synchronous client: the asynchronous one, method by method."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from unit.client.fake_server import FakeServer, Session
from unit.client.keyboard import press_ctrl_c

import arraymill as am
from arraymill import AsyncClient, Client, Progress, asarray
from arraymill._background import run
from arraymill_proto.errors import AxisError, ConnectionFailedError

ONLY_ASYNC = {"__aenter__", "__aexit__"}
X = np.arange(20.0).reshape(4, 5)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server on the clients' own loop: several loops would fight over gRPC's poller."""
    server = FakeServer()
    run(server.start())
    yield server
    run(server.stop())


@pytest.fixture
def mill(server: FakeServer) -> Iterator[Client]:
    with Client(server.address) as mill:
        yield mill


def public(kind: type) -> dict[str, object]:
    return {name: value for name, value in inspect.getmembers(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_names() -> None:
    assert set(public(Client)) == set(public(AsyncClient))
    assert {"__enter__", "__exit__"} <= set(dir(Client))


@pytest.mark.parametrize("name", ["__init__", *(n for n, v in public(AsyncClient).items() if callable(v))])
def test_both_clients_have_the_same_signatures(name: str) -> None:
    mine, other = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.signature(mine) == inspect.signature(other)
    assert mine.__doc__ == other.__doc__
    assert not inspect.iscoroutinefunction(inspect.unwrap(mine, stop=lambda f: f is mine))


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
    run(asyncio.wait_for(server.cancelled.wait(), 5))
    assert mill.sum(X) == X.sum(), "the client must be unharmed"


def test_closing_ends_jobs_of_other_threads(server: FakeServer) -> None:
    async def hang(session: Session) -> None:
        server.hangs.set()
        await asyncio.Event().wait()

    server.run = hang
    mill = Client(server.address)
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(mill.put, X)
        run(asyncio.wait_for(server.hangs.wait(), 5))
        mill.close()
        with pytest.raises(ConnectionFailedError, match="is closed"):
            job.result(5)
    with pytest.raises(ConnectionFailedError, match="is closed"):
        mill.info()
    mill.close()


def test_nobody_listens() -> None:
    with am.Client("127.0.0.1:1") as mill, pytest.raises(ConnectionFailedError, match="is the server running"):
        mill.sum(X)
