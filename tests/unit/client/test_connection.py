"""Connecting: one question for all callers, versions that fit, and everything that can answer instead of a server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio
from patience import until
from unit.client.fake_server import FakeServer

import arraymill
from arraymill._connection import Connection
from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    ConnectionFailedError,
    IncompatibleServerError,
    InternalError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb


@pytest_asyncio.fixture
async def connection(server: FakeServer) -> AsyncIterator[Connection]:
    connection = Connection(server.address, connect_timeout=5)
    yield connection
    await connection.close()


async def describe(connection: Connection) -> pb.ArrayInfo:
    return await connection.call("DescribeArray", pb.DescribeArrayRequest(id="x"), pb.ArrayInfo, None)


async def test_concurrent_callers_share_one_question(server: FakeServer, connection: Connection) -> None:
    answers = await asyncio.gather(*(connection.ready() for _ in range(50)))
    await connection.ready()
    assert server.calls["GetServerInfo"] == 1
    assert {answer.version for answer in answers} == {"9.9"}


async def test_a_cancelled_caller_leaves_the_question_to_the_others(server: FakeServer, connection: Connection) -> None:
    first, second = asyncio.create_task(connection.ready()), asyncio.create_task(connection.ready())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).version == "9.9"
    assert first.cancelled()
    assert server.calls["GetServerInfo"] == 1


async def test_the_last_caller_who_leaves_takes_the_question_along(server: FakeServer, connection: Connection) -> None:
    asking = asyncio.create_task(connection.ready())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not [task for task in asyncio.all_tasks() if "Connection._ask" in repr(task)]
    assert (await connection.ready()).version == "9.9"


async def test_a_question_that_failed_is_asked_again(server: FakeServer, connection: Connection) -> None:
    server.failures["GetServerInfo"] = ConnectionFailedError("not yet")
    with pytest.raises(ConnectionFailedError, match="not yet"):
        await connection.ready()
    server.failures.clear()
    assert (await connection.ready()).version == "9.9"


async def test_after_a_lost_connection_the_protocol_is_checked_again(
    server: FakeServer, connection: Connection
) -> None:
    await connection.ready()
    await server.stop()
    with pytest.raises(ConnectionFailedError):
        await describe(connection)
    server.info.protocol = server.info.oldest_protocol = 7
    await server.start()
    with pytest.raises(IncompatibleServerError):
        await _until_refused(connection)


async def test_a_server_behind_another_that_keeps_the_connection_is_checked_again(
    server: FakeServer, connection: Connection
) -> None:
    """What stands between, a load balancer for instance, answers for a server that is gone."""
    await connection.ready()
    server.failures["DescribeArray"] = ConnectionFailedError("nobody is there")
    with pytest.raises(ConnectionFailedError, match="nobody is there"):
        await describe(connection)
    server.info.protocol = server.info.oldest_protocol = 7
    with pytest.raises(IncompatibleServerError):
        await connection.ready()


async def _until_refused(connection: Connection) -> None:
    """Ask until the end of the old connection was noticed and the new server has answered."""
    async with asyncio.timeout(20):
        while True:
            with suppress(ConnectionFailedError):
                await connection.ready()
            await asyncio.sleep(0.05)


async def test_a_server_that_was_replaced_between_two_calls(server: FakeServer, connection: Connection) -> None:
    await connection.ready()
    await server.stop()
    server.info.protocol = server.info.oldest_protocol = 7
    await server.start()
    with pytest.raises(IncompatibleServerError):
        await _until_refused(connection)


@pytest.mark.parametrize(("oldest", "newest"), [(2, 3), (0, 0)])
async def test_versions_that_do_not_fit(server: FakeServer, connection: Connection, oldest: int, newest: int) -> None:
    server.info.oldest_protocol, server.info.protocol = oldest, newest
    with pytest.raises(IncompatibleServerError) as caught:
        await connection.ready()
    assert f"arraymill 9.9 and speaks protocols {oldest} to {newest}" in str(caught.value)
    assert f"this is arraymill {arraymill.__version__}, which speaks 1 to 1" in str(caught.value)
    assert "upgrade the older one" in str(caught.value)


async def test_a_newer_server_that_still_serves_us(server: FakeServer, connection: Connection) -> None:
    server.info.protocol = 5
    assert (await connection.ready()).protocol == 5


async def test_errors_of_a_call(server: FakeServer, connection: Connection) -> None:
    server.failures["DescribeArray"] = ArrayNotFoundError("no resident array 'x'", id="x")
    with pytest.raises(ArrayNotFoundError, match="no resident array 'x'") as caught:
        await describe(connection)
    assert caught.value.details == {"id": "x"}


async def test_an_answer_that_is_no_message(server: FakeServer, connection: Connection) -> None:
    server.raw["DescribeArray"] = b"\xff\xff\xff"
    with pytest.raises(InternalError, match="to DescribeArray cannot be read"):
        await describe(connection)


async def test_closing(connection: Connection) -> None:
    await connection.ready()
    await connection.close()
    await connection.close()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await connection.ready()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await describe(connection)


async def test_closing_while_the_question_is_asked(connection: Connection) -> None:
    asking = asyncio.create_task(connection.ready())
    await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await asking


def test_a_connection_belongs_to_one_event_loop() -> None:
    connection = Connection("127.0.0.1:1", connect_timeout=1)

    async def ask() -> None:
        await connection.ready()

    with pytest.raises(ConnectionFailedError, match="is the server running"):
        asyncio.run(ask())
    with pytest.raises(ArraymillError, match="belongs to another event loop: make one for each loop"):
        asyncio.run(ask())
    asyncio.run(connection.close())
    with pytest.raises(ConnectionFailedError, match="is closed"):
        asyncio.run(ask())


# ------------------------------------------------------------------ what is no server


async def failure(address: str) -> ArraymillError:
    connection = Connection(address, connect_timeout=1)
    with pytest.raises(ArraymillError) as caught:
        await connection.ready()
    await connection.close()
    return caught.value


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/tmp/there-is-no-such-socket"])
async def test_nobody_listens(address: str) -> None:
    error = await failure(address)
    assert type(error) is ConnectionFailedError
    assert str(error).startswith(f"no connection to {address}: ")
    assert "; is the server running? Start one with: arraymill serve" in str(error)


async def test_a_socket_that_never_answers() -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(ignore, "127.0.0.1", 0) as silent:
        address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        error = await failure(address)
    assert type(error) is ConnectionFailedError
    assert "did not answer within 1 s" in str(error) or "timed out" in str(error), error


async def test_a_web_server() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        error = await failure(f"127.0.0.1:{web.sockets[0].getsockname()[1]}")
    assert type(error) is ConnectionFailedError


async def test_another_grpc_service() -> None:
    other = grpc.aio.server()
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    error = await failure(f"127.0.0.1:{port}")
    await other.stop(None)
    assert type(error) is IncompatibleServerError
    assert "is no arraymill server, or another version of it" in str(error)


async def test_a_proxy_of_the_environment_is_not_asked(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    connection = Connection(server.address, connect_timeout=5)
    assert (await connection.ready()).version == "9.9"
    await connection.close()


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def lines_to(server: FakeServer) -> int:
    """TCP connections from here to a server."""
    port = int(server.address.rpartition(":")[2])
    return sum(bool(line.raddr) and line.raddr.port == port for line in psutil.Process().net_connections("tcp"))


@pytest.mark.usefixtures("no_garbage_collector")
async def test_a_connection_that_is_closed_ends_at_once(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is left of a question whose caller has gone holds the channel until the garbage collector comes."""
    asked = asyncio.Event()

    async def hang(*_: object, is_new_work: bool) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(server, "meet", hang)
    connection = Connection(server.address, connect_timeout=20)
    asking = asyncio.ensure_future(connection.ready())
    await asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    del asking
    assert lines_to(server) == 1
    await connection.close()
    await until(lambda: lines_to(server) == 0)
