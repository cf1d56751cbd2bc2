"""The way to a bulk lane: when it is taken, and that whatever answers there does no harm."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from descriptors import sockets
from patience import until
from wire import BulkStream, record_bytes

from arraymill import _bulk
from arraymill._bulk import LEAST_BYTES, BulkLink, BulkRoute
from arraymill._sink import ResultSink
from arraymill_proto.bulk import Record
from arraymill_proto.errors import InternalError
from arraymill_proto.graph import ArrayType

SECRET = bytes(range(32))


@asynccontextmanager
async def lane(*hosts: str, greeting: bytes = b"+") -> AsyncGenerator[tuple[int, asyncio.Queue[BulkStream]]]:
    """A bulk port and those who have come; nothing of it is left afterwards."""
    before = sockets()
    came: asyncio.Queue[BulkStream] = asyncio.Queue()

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(40) == b"ambulk1\n" + SECRET
        writer.write(greeting)
        came.put_nowait(BulkStream(reader, writer))
        streams.append(writer)

    streams: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(come, hosts or "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], came
    finally:
        listener.close()
        for writer in streams:
            writer.transport.abort()
    await until(lambda: sockets() <= before)


def sink(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ResultSink:
    return ResultSink(ArrayType(array.shape, array.dtype), out=array)


# ------------------------------------------------------------------ when


@pytest.mark.parametrize(
    ("address", "is_wanted", "nbytes", "port", "suits"),
    [
        ("localhost:50051", True, LEAST_BYTES, 1, True),
        ("localhost:50051", True, LEAST_BYTES - 1, 1, False),
        ("localhost:50051", True, LEAST_BYTES, 0, False),
        ("localhost:50051", False, LEAST_BYTES, 1, False),
        ("[::1]:50051", True, 1 << 40, 65535, True),
        ("unix:/run/arraymill.sock", True, 1 << 40, 1, False),
        ("unix:relative:1", True, 1 << 40, 1, False),
    ],
)
def test_what_it_suits(address: str, is_wanted: bool, nbytes: int, port: int, suits: bool) -> None:
    route = BulkRoute(address, is_wanted=is_wanted)
    assert route.suits(nbytes, port) is suits
    route.pause()
    assert not route.suits(nbytes, port)


# ------------------------------------------------------------------ where


@pytest.mark.parametrize("address", ["localhost:50051", "127.0.0.1:50051"])
async def test_the_first_address_that_answers(address: str) -> None:
    """localhost often means ::1 first, where nobody may listen."""
    async with lane("127.0.0.1") as (port, came):
        link = await BulkRoute(address, is_wanted=True).open(port, SECRET)
        assert link is not None
        assert link.is_open
        await came.get()
        link.close()


async def test_a_family_that_the_machine_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    places = [
        (-1, socket.SOCK_STREAM, 0, "", ("::1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0)),
    ]

    async def look_up(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(family, kind, protocol, name, (at, port)) for family, kind, protocol, name, (at, _) in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    async with lane() as (port, _):
        link = await BulkRoute("localhost:50051", is_wanted=True).open(port, SECRET)
        assert link is not None
        link.close()
        del places[1]
        assert await BulkRoute("localhost:50051", is_wanted=True).open(port, SECRET) is None
        del places[0]
        assert await BulkRoute("localhost:50051", is_wanted=True).open(port, SECRET) is None


@pytest.mark.parametrize("greeting", [b"-", b"HTTP/1.1 400 Bad Request"])
async def test_an_answer_that_is_no_welcome(greeting: bytes) -> None:
    async with lane(greeting=greeting) as (port, came):
        assert await BulkRoute("127.0.0.1:50051", is_wanted=True).open(port, SECRET) is None
        assert await (await came.get()).ended() == b""


async def test_giving_up_leaves_no_socket() -> None:
    """Wherever it is in coming in."""
    async with lane(greeting=b"") as (port, _):
        for turns in range(12):
            opening = asyncio.ensure_future(BulkRoute("127.0.0.1:50051", is_wanted=True).open(port, SECRET))
            for _turn in range(turns):
                await asyncio.sleep(0.0005)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening


# ------------------------------------------------------------------ the connection


@asynccontextmanager
async def linked() -> AsyncGenerator[tuple[BulkLink, BulkStream]]:
    async with lane() as (port, came):
        link = await BulkLink.open("127.0.0.1", port, SECRET)
        try:
            yield link, await came.get()
        finally:
            link.close()


async def test_results_of_any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk, "RECORD_BYTES", 1000)
    values = np.arange(600, dtype=np.int32).reshape(20, 30)
    flat, strided = np.zeros_like(values), np.zeros((40, 60), np.int32)[::2, ::-2]

    sinks = [sink(flat), sink(strided)]

    async def announced() -> list[ResultSink]:
        return sinks

    async with linked() as (link, server):
        receiving = asyncio.ensure_future(link.receive_into(announced))
        data = values.tobytes()
        for start in range(0, len(data), 333):
            for output in (1, 0):
                await server.say(record_bytes(0, output, start, data[start : start + 333]))
        await asyncio.wait_for(receiving, 20)
    assert np.array_equal(flat, values)
    assert np.array_equal(strided, values)


@pytest.mark.parametrize("said", [b"", bytes(20), record_bytes(0, 0, 0, bytes(50), length=100)])
async def test_a_server_that_goes(said: bytes) -> None:
    array = np.zeros(100, np.uint8)
    sinks = [sink(array)]

    async def announced() -> list[ResultSink]:
        return sinks

    async with linked() as (link, server):
        await server.say(said)
        server.writer.close()
        await asyncio.wait_for(link.receive_into(announced), 20)
    assert not sinks[0].is_complete


async def test_what_is_no_record() -> None:
    async def announced() -> list[ResultSink]:
        return []

    async with linked() as (link, server):
        await server.say(record_bytes(0, 0, 0, b"", flags=2))
        with pytest.raises(InternalError, match="what the server sent on the bulk connection cannot be read: a record"):
            await link.receive_into(announced)


async def test_the_end_wakes_whoever_waits() -> None:
    data = memoryview(bytes(64 << 20))

    async def announced() -> list[ResultSink]:
        return []

    async with linked() as (link, _):
        receiving = asyncio.ensure_future(link.receive_into(announced))
        sending = asyncio.ensure_future(link.send(Record(1, 0, 0, len(data)), data))
        await asyncio.sleep(0.05)
        assert not receiving.done()
        assert not sending.done()
        link.end()
        link.end()
        assert not link.is_open
        await asyncio.wait_for(receiving, 20)
        with pytest.raises(OSError, match="Broken pipe"):
            await asyncio.wait_for(sending, 20)
        with pytest.raises(OSError, match="Broken pipe"):
            await link.send(Record(2, 0, 0, 0), memoryview(b""))
