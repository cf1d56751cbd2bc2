"""Networks that are slow, silent or cut: a typed error in time, and the same client works when the network does."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from links import Link, link_to
from servers import RunningServer, running_server

import arraymill as am
from arraymill._client import CONNECT_SECONDS

X = np.random.default_rng(0).random((500, 1000))

CALLS: dict[str, Callable[[am.AsyncClient], Awaitable[Any]]] = {
    "a small job": lambda mill: mill.sum([1, 2], timeout=1),
    "a stream": lambda mill: mill.sum(X, timeout=1),
    "a kept array": lambda mill: mill.put(X, timeout=1),
    "information": lambda mill: mill.info(timeout=1),
    "a list": lambda mill: mill.list(timeout=1),
}


@pytest_asyncio.fixture
async def link(server: RunningServer) -> AsyncIterator[Link]:
    async with link_to(server.address) as link:
        yield link


@pytest_asyncio.fixture
async def mill(link: Link) -> AsyncIterator[am.AsyncClient]:
    async with am.AsyncClient(link.address, retry_for=0, shared=False) as mill:
        yield mill


async def until_it_answers(mill: am.AsyncClient) -> None:
    """gRPC tries again after 0.1 to 2 s."""
    async with asyncio.timeout(20):
        while True:
            try:
                assert await mill.sum(X) == X.sum()
            except am.ConnectionFailedError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_slow_link_connects(link: Link, mill: am.AsyncClient) -> None:
    """Every handshake takes longer than a machine beside this one would ever need."""
    link.delay = 0.3
    assert await mill.sum([1, 2]) == 3


@pytest.mark.parametrize("way", ["upload", "result"])
@pytest.mark.parametrize("after", [0, 100, 20_000, 1_000_000])
async def test_a_connection_that_is_cut(link: Link, mill: am.AsyncClient, way: str, after: int) -> None:
    assert await mill.sum([1]) == 1
    link.cut_after = link.passed + after
    with pytest.raises(am.ConnectionFailedError, match=link.address):
        await (mill.sum(X) if way == "upload" else mill.compute(am.asarray([1.0] * 1000) + np.zeros((1000, 1))))
    link.cut_after = None
    await until_it_answers(mill)


async def test_everything_under_way_fails_when_the_connection_is_cut(link: Link, mill: am.AsyncClient) -> None:
    link.delay = 0.01
    jobs = [asyncio.ensure_future(mill.sum(X + number)) for number in range(50)]
    await asyncio.sleep(0.3)
    link.cut()
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert errors
    assert {type(error) for error in errors} == {am.ConnectionFailedError}
    link.delay = 0
    await until_it_answers(mill)


async def test_a_deadline_holds_when_nobody_answers(link: Link) -> None:
    link.is_silent = True

    async def call(name: str) -> None:
        async with am.AsyncClient(link.address, retry_for=0, shared=False) as mill:
            with pytest.raises(am.DeadlineError, match="1 s"):
                await CALLS[name](mill)

    begin = monotonic()
    await asyncio.gather(*map(call, CALLS))
    assert 0.9 < monotonic() - begin < CONNECT_SECONDS


async def test_a_deadline_holds_when_a_server_falls_silent(link: Link, mill: am.AsyncClient) -> None:
    assert await mill.sum([1]) == 1
    link.is_silent = True
    outcomes = await asyncio.gather(*(call(mill) for call in CALLS.values()), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [am.DeadlineError] * len(CALLS)


async def test_the_first_answer_is_waited_for_no_longer_than_the_caller_says(link: Link) -> None:
    link.is_silent = True
    async with am.AsyncClient(link.address, connect_timeout=0.5, retry_for=0) as mill:
        with pytest.raises(am.ConnectionFailedError, match=rf"{link.address} did not answer within 0.5 s"):
            await mill.sum([1])


async def test_a_refused_connection_fails_at_once_and_tells_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        async with am.AsyncClient(address) as mill:
            begin = monotonic()
            for call in CALLS.values():
                with pytest.raises(am.ConnectionFailedError, match="Start one with: arraymill serve") as caught:
                    await call(mill)
                assert address in str(caught.value)
                assert isinstance(caught.value, ConnectionError)
            assert monotonic() - begin < CONNECT_SECONDS


async def test_a_network_that_comes_back(link: Link, mill: am.AsyncClient) -> None:
    assert await mill.sum(X) == X.sum()
    await link.close()
    for _ in range(3):
        with pytest.raises(am.ConnectionFailedError):
            await mill.sum(X)
    await link.open()
    await until_it_answers(mill)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_server_that_is_replaced(end: signal.Signals) -> None:
    """Its port is taken over by another server while the client has jobs."""
    with running_server() as first:
        async with am.AsyncClient(first.address, retry_for=0) as mill:
            handle = await mill.put(X)
            jobs = [asyncio.ensure_future(mill.compute(np.exp(am.asarray(X)) * number)) for number in range(20)]
            await asyncio.sleep(0.05)
            first.process.send_signal(end)
            for outcome in await asyncio.gather(*jobs, return_exceptions=True):
                is_lost = isinstance(outcome, am.ConnectionFailedError | am.JobCancelledError)
                assert is_lost or isinstance(outcome, np.ndarray), repr(outcome)
            first.process.wait(20)
            with running_server("--listen", first.address):
                await until_it_answers(mill)
                with pytest.raises(am.ArrayNotFoundError):
                    await mill.get(handle)
