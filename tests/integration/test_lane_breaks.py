"""Bulk connections that cannot be had, break, or are given up: right results or typed errors, and nothing is left."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from typing import Any, TypeAlias

import numpy as np
import pytest
import pytest_asyncio
from bulk_lane import Traffic, count_traffic, lead_to, wait_for_bulk
from descriptors import sockets
from links import Link, link_to
from patience import SECONDS, until
from servers import RunningServer, running_server

import arraymill as am
from arraymill import _bulk

X = np.resize(np.random.default_rng(3).random(10_007), (1500, 1400))
"""16 MiB: four blocks."""
TOTAL = float(X.sum())
COLUMN = np.linspace(0.0, 1.0, 1500)[:, np.newaxis]
HELLO, WELCOME = 40, 1

Job: TypeAlias = Callable[[am.AsyncClient], Awaitable[Any]]


async def upload(mill: am.AsyncClient) -> None:
    np.testing.assert_allclose(await mill.sum(X), TOTAL)


async def outer(mill: am.AsyncClient) -> None:
    """Inputs of some KB, a result of 17 MiB."""
    result = await mill.compute(am.asarray(COLUMN) + COLUMN.T)
    assert np.array_equal(result, COLUMN + COLUMN.T)


async def both_ways(mill: am.AsyncClient) -> None:
    assert np.array_equal(await mill.transform("sqrt", X), np.sqrt(X))


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Counts; every input waits for the bulk connection."""
    traffic = count_traffic(monkeypatch)
    wait_for_bulk(monkeypatch)
    return traffic


@pytest_asyncio.fixture
async def mill(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    """A client that tells every failure; afterwards the server is idle and has no bulk connection."""
    async with am.AsyncClient(server.address, retry_for=0, shared=False) as mill:
        await mill.info()
        before = sockets(server.pid)
        yield mill
        await wait_idle(mill)
        await until(lambda: sockets(server.pid) <= before)


@pytest_asyncio.fixture
async def link(server: RunningServer, mill: am.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Link]:
    """The network between the client and the bulk port."""
    async with link_to(f"127.0.0.1:{(await mill.info()).bulk_port}") as link:
        lead_to(monkeypatch, int(link.address.rpartition(":")[2]))
        yield link


async def wait_idle(mill: am.AsyncClient) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            info = await mill.info()
            if not info.running_jobs and not info.waiting_jobs and info.arena_free_bytes == info.arena_bytes:
                return
            await asyncio.sleep(0.01)


# ------------------------------------------------------------------ connections that cannot be had


async def closed_port() -> tuple[int, Callable[[], None]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1], lambda: None


async def silent_port() -> tuple[int, Callable[[], None]]:
    """The kernel accepts, and nobody ever answers: as a network does that swallows everything."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening.getsockname()[1], listening.close


def answering(data: bytes) -> Callable[[], Awaitable[tuple[int, Callable[[], None]]]]:
    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, EOFError):  # its job may have ended before
            await reader.readexactly(HELLO)
            writer.write(data)

    async def port() -> tuple[int, Callable[[], None]]:
        listener = await asyncio.start_server(come, "127.0.0.1", 0)
        return listener.sockets[0].getsockname()[1], listener.close

    return port


NOBODY: dict[str, Callable[[], Awaitable[tuple[int, Callable[[], None]]]]] = {
    "refuses": closed_port,
    "is silent": silent_port,
    "closes": answering(b""),
    "talks nonsense": answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


@pytest.mark.parametrize("name", NOBODY)
async def test_where_nobody_is_frames_carry_everything(
    mill: am.AsyncClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nobody is told, and the next jobs do not try."""
    monkeypatch.setattr(_bulk, "OPEN_SECONDS", 0.0)
    traffic = count_traffic(monkeypatch)
    port, close = await NOBODY[name]()
    lead_to(monkeypatch, port)
    before = sockets()
    await both_ways(mill)
    lead_to(monkeypatch, -1)  # an error, should it be tried
    await asyncio.gather(upload(mill), both_ways(mill))
    assert (traffic.in_bulk, traffic.sent_in_frames) == (0, 3 * X.nbytes)
    await until(lambda: sockets() <= before)
    close()


# ------------------------------------------------------------------ connections that break


@pytest.mark.parametrize(
    "after",
    [0, HELLO, HELLO + WELCOME, HELLO + WELCOME + 20, 100_000, 5_000_000, X.nbytes],
    ids=["hello", "welcome", "the first record", "a header", "a record", "many records", "almost all"],
)
async def test_a_connection_that_is_cut_while_inputs_travel(
    mill: am.AsyncClient, link: Link, traffic: Traffic, after: int
) -> None:
    """Frames carry the rest, and the next jobs do not try."""
    link.cut_after = after
    await upload(mill)
    assert link.passed > after, "it was cut"
    assert traffic.sent_in_frames > 0
    passed = link.passed
    await upload(mill)
    assert link.passed == passed


async def test_the_same_bits_after_a_break(mill: am.AsyncClient, link: Link, traffic: Traffic) -> None:
    whole = await mill.sum(X, axis=0)
    assert traffic.sent_in_frames == 0
    link.cut_after = link.passed + X.nbytes // 2
    halved = await mill.sum(X, axis=0)
    assert traffic.sent_in_frames > 0
    assert whole.tobytes() == halved.tobytes()


@pytest.mark.parametrize("after", [30_000, 70_000, 5_000_000, 17_900_000])
async def test_a_connection_that_is_cut_while_results_travel(
    mill: am.AsyncClient, link: Link, traffic: Traffic, after: int
) -> None:
    """The error says so; whoever tries again does it by frames."""
    link.cut_after = after
    with pytest.raises(am.ConnectionFailedError, match="broke while results travelled on it; try again"):
        await outer(mill)
    assert link.passed > after
    received = traffic.received_in_bulk
    await outer(mill)
    assert traffic.received_in_bulk == received


async def test_a_client_tries_again_by_itself(server: RunningServer, link: Link, traffic: Traffic) -> None:
    link.cut_after = 1_000_000
    async with am.AsyncClient(server.address, shared=False) as mill:
        await outer(mill)
        assert link.passed > 1_000_000


async def test_many_jobs_whose_connections_are_cut(mill: am.AsyncClient, link: Link, traffic: Traffic) -> None:
    link.cut_after = 40_000_000
    await asyncio.gather(*(upload(mill) for _ in range(8)))
    assert link.passed > 40_000_000


@pytest.mark.parametrize("after", [None, 5_000_000])
async def test_submitted_jobs_are_fed_by_the_lane(
    mill: am.AsyncClient, link: Link, traffic: Traffic, after: int | None
) -> None:
    link.cut_after = after
    job = await mill.submit(am.asarray(X).sum())
    np.testing.assert_allclose(await job.result(), TOTAL)
    assert link.passed > (after or X.nbytes)
    assert traffic.sent_in_bulk > 0
    assert (traffic.sent_in_frames > 0) == (after is not None)
    await job.delete()


# ------------------------------------------------------------------ sides that go


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.mark.parametrize("job", [upload, outer], ids=lambda job: job.__name__)
async def test_a_server_that_is_killed(job: Job, monkeypatch: pytest.MonkeyPatch, traffic: Traffic) -> None:
    options = ("--log-level", "error", "--bulk-port", str(free_port()))
    with running_server(*options, workers=1, arena="64MiB") as server:
        async with (
            am.AsyncClient(server.address, retry_for=0, shared=False) as mill,
            link_to(f"127.0.0.1:{options[-1]}") as link,
        ):
            lead_to(monkeypatch, int(link.address.rpartition(":")[2]))
            link.delay = 0.002
            running = asyncio.ensure_future(job(mill))
            await until(lambda: link.passed > 1_000_000 or running.done())
            assert not running.done()
            server.process.kill()
            with pytest.raises(am.ConnectionFailedError):
                await asyncio.wait_for(running, SECONDS)


@pytest.mark.parametrize("job", [upload, outer, both_ways], ids=lambda job: job.__name__)
async def test_a_job_that_is_cancelled_anywhere_leaves_nothing(
    server: RunningServer, mill: am.AsyncClient, traffic: Traffic, job: Job
) -> None:
    before = sockets(), sockets(server.pid)
    rng = random.Random(job.__name__)
    for _ in range(8):
        running = asyncio.ensure_future(job(mill))
        await asyncio.sleep(rng.random() * 0.05)
        running.cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(0)
            running.cancel()
        await asyncio.wait([running])
    assert traffic.in_bulk > 0
    await until(lambda: sockets() <= before[0])
    await wait_idle(mill)
    await until(lambda: sockets(server.pid) <= before[1])
    await job(mill)


async def test_deadlines_on_the_lane(mill: am.AsyncClient, link: Link, traffic: Traffic) -> None:
    link.delay = 0.01
    with pytest.raises(am.DeadlineError):
        await mill.sum(X, timeout=0.3)
    with pytest.raises(am.DeadlineError):
        await mill.transform("sqrt", X, timeout=0.3)
    assert traffic.in_bulk > 0


CLIENT = """
import sys
import numpy as np
import arraymill as am

x = np.ones((1500, 1400))
with am.Client(sys.argv[1], shared=False) as mill:
    while True:
        mill.transform("sqrt", x)
        print("done", flush=True)
"""


async def test_a_client_that_is_killed(server: RunningServer, mill: am.AsyncClient) -> None:
    before = sockets(server.pid)
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, server.address, stdout=PIPE)
    assert client.stdout is not None
    assert await client.stdout.readline() == b"done\n"
    await until(lambda: sockets(server.pid) >= before + 2)  # its channel and its bulk connection
    client.kill()
    await client.communicate()
    await wait_idle(mill)
    await until(lambda: sockets(server.pid) <= before)
    await upload(mill)
