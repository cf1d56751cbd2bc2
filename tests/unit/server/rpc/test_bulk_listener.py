"""Where bulk connections come in: who may, who may not, and that nobody keeps the others out."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from addresses import needs_ipv6
from descriptors import sockets
from patience import turns, until
from wire import BulkStream, bulk_stream, hello_bytes

from arraymill_proto.bulk import Record
from arraymill_server.config import ConfigError
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.listen import Address, parse_address
from arraymill_server.rpc import bulk_listener
from arraymill_server.rpc.bulk import BulkConnection
from arraymill_server.rpc.bulk_listener import MAX_STRANGERS, BulkListener

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
LOOPBACK = [Address("127.0.0.1")]
TOO_LONG = 64 * "a"
"""A name that no machine can have."""


class Job:
    """A job that notes who comes."""

    def __init__(self) -> None:
        self.opened: list[BulkConnection] = []
        self.lost: list[BulkConnection] = []

    def bulk_opened(self, connection: BulkConnection) -> None:
        self.opened.append(connection)

    def claim(self, record: Record) -> memoryview | None:
        return None

    def arrived(self, record: Record) -> None: ...

    def sent(self, outgoing: Outgoing, token: int) -> None: ...

    def moved(self, nbytes: int) -> None: ...

    def bulk_failed(self, error: Exception) -> None:
        raise error

    def bulk_lost(self, connection: BulkConnection) -> None:
        self.lost.append(connection)


@asynccontextmanager
async def listening(*addresses: str, port: int = 0) -> AsyncGenerator[BulkListener]:
    """An open listener; afterwards no socket of it is left."""
    before = sockets()
    places = [parse_address(address) for address in addresses] or LOOPBACK
    listener = BulkListener.open(places, port)
    assert listener is not None
    try:
        yield listener
    finally:
        await listener.close()
    await until(lambda: sockets() <= before)


@asynccontextmanager
async def welcomed(listener: BulkListener, job: Job) -> AsyncGenerator[BulkStream]:
    async with bulk_stream(listener.port) as client:
        await client.greet(listener.offer(job))
        assert len(job.opened) == 1, "who is welcomed has the connection"
        yield client


# ------------------------------------------------------------------ who may come in


def test_who_says_the_secret_has_the_jobs_connection(run: Run) -> None:
    async def main() -> None:
        async with listening() as listener:
            jobs = [Job(), Job()]
            secrets = [listener.offer(job) for job in jobs]
            assert repr(listener) == f"<BulkListener at port {listener.port}: 2 offers, 0 served, 0 strangers>"
            async with bulk_stream(listener.port) as second, bulk_stream(listener.port) as first:
                await second.greet(secrets[1])
                assert [len(job.opened) for job in jobs] == [0, 1]
                await first.greet(secrets[0])
                assert [len(job.opened) for job in jobs] == [1, 1]
                assert repr(listener) == f"<BulkListener at port {listener.port}: 0 offers, 2 served, 0 strangers>"
            await until(lambda: all(job.lost == job.opened for job in jobs))
            await until(lambda: "0 served" in repr(listener))

    run(main())


def test_a_secret_said_byte_by_byte(run: Run) -> None:
    async def main() -> None:
        async with listening() as listener, bulk_stream(listener.port) as client:
            for byte in hello_bytes(listener.offer(Job())):
                await client.say(bytes([byte]))
                await turns(3)
            assert await client.reader.readexactly(1) == b"+"

    run(main())


@pytest.mark.parametrize(
    "said",
    [
        hello_bytes(bytes(32)),
        bytes(40),
        b"GET / HTTP/1.1\r\nHost: localhost:50051\r\nAccept: */*\r\n\r\n",
        b"\x16\x03\x01" + bytes(200),
    ],
)
def test_who_knows_no_secret_is_sent_away_without_a_word(run: Run, said: bytes) -> None:
    async def main() -> None:
        job = Job()
        async with listening() as listener, bulk_stream(listener.port) as client:
            listener.offer(job)
            await client.say(said)
            assert await client.ended() == b""
            assert not job.opened

    run(main())


def test_a_secret_is_good_for_one_connection(run: Run) -> None:
    async def main() -> None:
        job = Job()
        async with listening() as listener:
            secret = listener.offer(job)
            async with bulk_stream(listener.port) as first, bulk_stream(listener.port) as second:
                await asyncio.gather(first.say(hello_bytes(secret)), second.say(hello_bytes(secret)))
                ends = [asyncio.ensure_future(client.ended()) for client in (first, second)]
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                assert [end.result() for end in done] == [b""]
                assert len(job.opened) == 1
                job.opened[0].close()
                assert {await end for end in ends} == {b"", b"+"}

    run(main())


def test_an_offer_that_was_withdrawn(run: Run) -> None:
    async def main() -> None:
        job = Job()
        async with listening() as listener:
            secret = listener.offer(job)
            listener.withdraw(secret)
            listener.withdraw(secret)
            async with bulk_stream(listener.port) as client:
                await client.say(hello_bytes(secret))
                assert await client.ended() == b""
            assert not job.opened

    run(main())


# ------------------------------------------------------------------ strangers


def test_who_says_nothing_is_sent_away_in_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_listener, "HELLO_SECONDS", 0.1)

    async def main() -> None:
        async with listening() as listener:
            secret = listener.offer(Job())
            async with bulk_stream(listener.port) as silent, bulk_stream(listener.port) as slow:
                await slow.say(hello_bytes(secret)[:39])
                assert await silent.ended() == b""
                assert await slow.ended() == b""
            async with bulk_stream(listener.port) as client:
                await client.greet(secret)

    run(main())


def test_silent_strangers_keep_nobody_waiting(run: Run) -> None:
    """More of them than may stand: the oldest go, and a client comes in at once."""

    async def main() -> None:
        async with listening() as listener, AsyncExitStack() as stack:
            strangers = [await stack.enter_async_context(bulk_stream(listener.port)) for _ in range(MAX_STRANGERS + 9)]
            async with asyncio.timeout(bulk_listener.HELLO_SECONDS / 2), welcomed(listener, Job()):
                pass
            for stranger in strangers[:9]:
                assert await stranger.ended() == b""
            assert "64 strangers" in repr(listener) or "63 strangers" in repr(listener)
            await strangers[-1].greet(listener.offer(Job()))

    run(main())


def test_clients_in_hundreds_at_once(run: Run) -> None:
    async def main() -> None:
        async with listening() as listener, AsyncExitStack() as stack:
            jobs = [Job() for _ in range(300)]

            async def come(job: Job) -> None:
                client = await stack.enter_async_context(bulk_stream(listener.port))
                await client.greet(listener.offer(job))

            await asyncio.gather(*map(come, jobs))
            assert [len(job.opened) for job in jobs] == [1] * 300
            assert "300 served, 0 strangers" in repr(listener)

    run(main())


def test_the_end_of_the_listener_ends_all(run: Run) -> None:
    async def main() -> None:
        job = Job()
        async with listening() as listener, AsyncExitStack() as stack:
            client = await stack.enter_async_context(welcomed(listener, job))
            stranger = await stack.enter_async_context(bulk_stream(listener.port))
            await until(lambda: "1 strangers" in repr(listener))
            await listener.close()
            assert await client.ended() == await stranger.ended() == b""
            assert job.lost == job.opened
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", listener.port)

    run(main())


async def test_it_goes_on_when_a_connection_cannot_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_listener, "RETRY_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    accept, refusals = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED]

    async def failing_accept(listening: socket.socket) -> tuple[socket.socket, Any]:
        if refusals:
            raise OSError(refusals.pop(), "out of something")
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", failing_accept)
    async with listening() as listener, welcomed(listener, Job()):
        assert not refusals


# ------------------------------------------------------------------ where it listens


def is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError:
        return False
    return True


@needs_ipv6
@pytest.mark.parametrize(
    ("addresses", "reached", "unreached"),
    [
        (["127.0.0.1:0"], ["127.0.0.1"], ["::1", "127.0.0.2"]),
        (["[::1]:0"], ["::1"], ["127.0.0.1"]),
        (["127.0.0.1:1", "[::1]:2", "unix:/x"], ["127.0.0.1", "::1"], []),
        (["localhost:0"], ["localhost", "127.0.0.1"], ["127.0.0.2"]),
        (["localhost:1", "127.0.0.1:2", "127.0.0.1:3", "[::1]:4"], ["127.0.0.1", "::1"], ["127.0.0.2"]),
        (["0.0.0.0:0", "127.0.0.1:0", "localhost:0"], ["127.0.0.1", "127.0.0.2"], []),
        (["[::]:0", "0.0.0.0:0", "localhost:0"], ["127.0.0.1", "127.0.0.2", "::1"], []),
        (["192.0.2.1:0", "127.0.0.1:0"], ["127.0.0.1"], ["192.0.2.1"]),
        ([f"{TOO_LONG}:0", "127.0.0.1:0"], ["127.0.0.1"], []),
    ],
)
async def test_hosts(addresses: list[str], reached: list[str], unreached: list[str]) -> None:
    async with listening(*addresses) as listener:
        assert [host for host in reached if not is_open(host, listener.port)] == []
        assert [host for host in unreached if is_open(host, listener.port)] == []


@pytest.mark.parametrize("addresses", [[], ["unix:/x"], ["192.0.2.1:0"], [f"{TOO_LONG}:0"]])
async def test_no_host_no_lane(addresses: list[str]) -> None:
    assert BulkListener.open([parse_address(address) for address in addresses], 0) is None


async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo

    def failing_look_up(host: str, *args: Any, **options: Any) -> Any:
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", failing_look_up)
    assert BulkListener.open([Address("unknown")], 0) is None
    async with listening("unknown:0", "127.0.0.1:0") as listener:
        assert is_open("127.0.0.1", listener.port)


async def test_a_port_of_ones_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on port {port} for the bulk lane: .*; choose another"):
            BulkListener.open(LOOPBACK, port)
    async with listening(port=port) as listener:
        assert listener.port == port


@needs_ipv6
async def test_a_port_that_only_one_of_two_addresses_has_free() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        before = sockets()
        with pytest.raises(ConfigError, match=f"port {port} for the bulk lane"):
            BulkListener.open([Address("127.0.0.1"), Address("::1")], port)
        assert sockets() == before, "the one that could be had is given back"


@needs_ipv6
@pytest.mark.parametrize(("taken", "is_found"), [(3, True), (bulk_listener.PORT_TRIES, False)])
async def test_a_picked_port_is_picked_again(monkeypatch: pytest.MonkeyPatch, taken: int, is_found: bool) -> None:
    """Another process may have the port that was free at the first address at the second one."""
    create, failures = socket.create_server, [errno.EADDRINUSE] * taken

    def failing_create(address: tuple[str, int], **options: Any) -> socket.socket:
        if address[1] and failures:
            raise OSError(failures.pop(), "Address already in use")
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", failing_create)
    if is_found:
        async with listening("127.0.0.1:0", "[::1]:0") as listener:
            assert is_open("::1", listener.port)
    else:
        with pytest.raises(ConfigError, match="port any for the bulk lane: Address already in use"):
            BulkListener.open([Address("127.0.0.1"), Address("::1")], 0)
