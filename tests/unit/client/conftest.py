"""A fake server and a client of it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from unit.client.fake_server import FakeServer, fake_server

from arraymill import AsyncClient


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
