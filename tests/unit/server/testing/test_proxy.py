from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import pytest
import pytest_asyncio
from patience import until

from arraymill_server.testing.proxy import CHUNK_BYTES, Proxy, Weather

HOST: Final = "127.0.0.1"
PROXY_HOST: Final = "127.0.0.2"


@dataclass
class Server:
    """Says again whatever it hears, and goodbye when its client has ended its half."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list[bytes])
    ends: list[str] = field(default_factory=list[str])
    """How its connections have ended."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.heard.append(data)
                writer.write(data)
            self.ends.append("end of file")
            writer.write(b"goodbye")
            writer.write_eof()
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.serve, HOST, 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


@pytest_asyncio.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(HOST, PROXY_HOST, [server.port]) as proxy:
        yield proxy


@dataclass
class Client:
    """One connection through the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def says(self, data: bytes) -> bytes:
        """Say something; return the echo."""
        self.writer.write(data)
        return await asyncio.wait_for(self.reader.readexactly(len(data)), 20)


@pytest_asyncio.fixture
async def connect(proxy: Proxy, server: Server) -> AsyncIterator[Callable[[], asyncio.Future[Client]]]:
    """Makes connections, and closes them after the test."""
    clients: list[Client] = []

    async def one() -> Client:
        clients.append(Client(*await asyncio.open_connection(PROXY_HOST, server.port)))
        return clients[-1]

    yield lambda: asyncio.ensure_future(one())
    for client in clients:
        client.writer.close()
        with suppress(OSError):
            await client.writer.wait_closed()


Connect = Callable[[], "asyncio.Future[Client]"]


@pytest_asyncio.fixture
async def client(connect: Connect) -> Client:
    client = await connect()
    assert await client.says(b"hello") == b"hello"
    return client


# ------------------------------------------------------------------ weather


@pytest.mark.parametrize(
    "weather",
    [
        Weather(),
        Weather(latency_seconds=0.01),
        Weather(bytes_per_second=8 << 20),
        Weather(slice_bytes=1000),
        Weather(0.01, 16 << 20, 1448),
    ],
)
async def test_everything_arrives_in_any_weather(proxy: Proxy, client: Client, weather: Weather) -> None:
    proxy.weather = weather
    data = bytes(range(256)) * 4096
    assert await client.says(data) == data
    client.writer.write_eof()
    assert await client.reader.read() == b"goodbye"
    assert proxy.passed_bytes == 2 * len(data) + len(b"hellohellogoodbye")


async def test_latency_counts_in_either_direction(proxy: Proxy, client: Client) -> None:
    proxy.weather = Weather(latency_seconds=0.03)
    begin = monotonic()
    await client.says(b"!")
    assert monotonic() - begin >= 0.06


async def test_a_narrow_line_is_shared_by_all_connections(proxy: Proxy, connect: Connect) -> None:
    clients = [await connect() for _ in range(4)]
    proxy.weather = Weather(bytes_per_second=1 << 20)
    begin = monotonic()
    await asyncio.gather(*(client.says(bytes(1 << 15)) for client in clients))
    assert monotonic() - begin >= 4 * (1 << 15) / (1 << 20)


def test_a_narrow_line_takes_small_chunks() -> None:
    sizes = [Weather(bytes_per_second=rate).chunk_bytes for rate in (float("inf"), 1 << 20, 1.0)]
    assert sizes == [CHUNK_BYTES, (1 << 20) // 100, 1]


async def test_slices_arrive_one_by_one(proxy: Proxy, server: Server, client: Client) -> None:
    proxy.weather = Weather(latency_seconds=0.001, slice_bytes=7)
    await client.says(bytes(70))
    assert b"".join(server.heard) == b"hello" + bytes(70)


async def test_a_waiter_hears_when_bytes_have_passed(proxy: Proxy, client: Client) -> None:
    waiting = asyncio.create_task(proxy.passes(10))
    await client.says(b"1234")  # 8 in both directions
    assert not waiting.done()
    await client.says(b"5")
    await asyncio.wait_for(waiting, 20)


# ------------------------------------------------------------------ faults


async def test_a_cut(proxy: Proxy, server: Server, client: Client, connect: Connect) -> None:
    proxy.cut()
    assert await client.reader.read() == b""
    await until(lambda: server.ends == ["end of file"])
    assert await (await connect()).says(b"again") == b"again"
    assert proxy.accepted == 2


async def test_a_reset(proxy: Proxy, server: Server, client: Client) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    await until(lambda: server.ends == ["reset"])


async def test_half_a_close(proxy: Proxy, server: Server, client: Client) -> None:
    proxy.halve()
    assert await client.reader.read() == b"goodbye"
    assert server.ends == ["end of file"]
    client.writer.write(b"into the void")
    await client.writer.drain()
    assert server.heard == [b"hello"]


async def test_nothing_passes_while_it_is_held(proxy: Proxy, server: Server, client: Client, connect: Connect) -> None:
    proxy.hold()
    client.writer.write(b"one")
    other = await connect()
    other.writer.write(b"two")
    await asyncio.sleep(0.05)
    assert server.heard == [b"hello"]
    assert repr(proxy) == f"<Proxy to {HOST}: held, 1 connections, 10 bytes passed>"
    proxy.release()
    assert await client.reader.readexactly(3) == b"one"
    assert await other.reader.readexactly(3) == b"two"
    assert repr(proxy) == f"<Proxy to {HOST}: open, 2 connections, 22 bytes passed>"


async def test_what_is_sent_over_a_lost_connection_vanishes(
    proxy: Proxy, server: Server, client: Client, connect: Connect
) -> None:
    proxy.lose()
    client.writer.write(b"lost")
    client.writer.write_eof()
    assert await (await connect()).says(b"new") == b"new"
    assert (server.heard, server.ends) == ([b"hello", b"new"], [])
    assert not client.reader.at_eof()


async def test_a_closed_proxy_refuses_and_can_be_opened_again(
    proxy: Proxy, server: Server, client: Client, connect: Connect
) -> None:
    await proxy.close()
    assert await client.reader.read() == b""
    await until(lambda: server.ends == ["end of file"])
    with pytest.raises(ConnectionRefusedError):
        await connect()
    await proxy.open()
    assert await (await connect()).says(b"again") == b"again"


async def test_a_server_that_is_not_there(server: Server) -> None:
    async with Proxy("127.0.0.9", "127.0.0.3", [server.port]):
        reader, writer = await asyncio.open_connection("127.0.0.3", server.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
