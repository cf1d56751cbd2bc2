"""A fake server and a client of it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from unit.client.fake_jobs import FakeJobServer, fake_job_server
from unit.client.fake_lane import FakeLane, fake_lane
from unit.client.fake_server import FakeServer, fake_server

from arraymill import AsyncClient, _bulk, _retry


@pytest.fixture(scope="session", autouse=True)
def keyboard() -> Iterator[None]:
    """Let Ctrl-C interrupt this process: shells ignore it for what runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


@pytest_asyncio.fixture
async def mill(server: FakeServer) -> AsyncIterator[AsyncClient]:
    """A client that tells every failure at once."""
    async with AsyncClient(server.address, retry_for=0) as mill:
        yield mill


@pytest_asyncio.fixture
async def streaming(server: FakeServer) -> AsyncIterator[AsyncClient]:
    """A client that streams the smallest array too."""
    server.info.unary_bytes = 0
    async with AsyncClient(server.address, retry_for=0) as mill:
        yield mill


@pytest_asyncio.fixture
async def lane(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLane]:
    """The bulk lane of the fake server, for arrays of any size."""
    monkeypatch.setattr(_bulk, "LEAST_BYTES", 0)
    async with fake_lane(monkeypatch) as lane:
        server.info.bulk_port = lane.port
        yield lane


@pytest_asyncio.fixture
async def jobs() -> AsyncIterator[FakeJobServer]:
    """A server of submitted jobs."""
    async with fake_job_server() as server:
        yield server


@pytest_asyncio.fixture
async def worker(jobs: FakeJobServer) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with AsyncClient(jobs.address) as mill:
        yield mill


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is tried again be tried soon."""
    monkeypatch.setattr(_retry, "LONGEST_PAUSE", 0.002)
