"""Where clients on the same machine come: who is let in, and that nobody keeps the others out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from descriptors import sockets
from memory_lane import PAGE, as_peer, budget_of, is_free, place_of, raw_connection, raw_session
from patience import until

from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.config import ConfigError
from arraymill_server.rpc import memory_listener
from arraymill_server.rpc.memory_listener import MemoryListener
from arraymill_server.rpc.shared import Budget


@pytest.fixture(autouse=True)
def small_staging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_listener, "STAGING_BYTES", PAGE)


@asynccontextmanager
async def listening(budget: Budget | None = None, **drafts: Path) -> AsyncGenerator[MemoryListener]:
    """A listener; afterwards nothing is left of it."""
    before = sockets()
    budget = budget or budget_of(64 * PAGE)
    listener = MemoryListener.open({str(draft): draft for draft in drafts.values()}, budget)
    try:
        yield listener
    finally:
        await listener.close()
    await until(lambda: is_free(budget))
    assert sockets() == before


async def test_clients_come_to_the_socket_without_a_file_and_to_files(tmp_path: Path) -> None:
    path = tmp_path / "socket.memory"
    async with listening(one=path) as listener:
        name, file = listener.paths
        assert (name[0], file) == ("@", str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        async with raw_session(name) as one, raw_session(file) as two:
            assert repr(listener) == f"<MemoryListener at {name}, {file}: 2 sessions>"
            for client in (one, two):
                session = listener.session(client.secret)
                assert session is not None
                assert session.secret == client.secret
            assert one.secret != two.secret
            one.close()
            await until(lambda: listener.session(one.secret) is None)
            assert listener.session(two.secret) is not None
        assert listener.session(b"") is None
        assert listener.session(bytes(32)) is None


async def test_two_listeners_have_names_of_their_own() -> None:
    async with listening() as one, listening() as other:
        assert one.paths != other.paths


async def test_a_path_that_cannot_be_bound(tmp_path: Path) -> None:
    before = sockets()
    with pytest.raises(ConfigError, match="clients on this machine: No such file or directory; --shared-memory 0"):
        MemoryListener.open({"x": tmp_path / "missing" / "socket"}, budget_of(PAGE))
    assert sockets() == before


@pytest.mark.parametrize(("own", "is_let_in"), [("same", True), ("other", False)])
async def test_only_the_servers_user_and_root_are_let_in(
    monkeypatch: pytest.MonkeyPatch, own: str, is_let_in: bool
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        uid = 1234 if own == "same" else 4321
        as_peer(monkeypatch, 1234)
        credentials = memory_listener._CREDENTIALS.pack(99, uid, 0)  # pyright: ignore[reportPrivateUsage]
        assert memory_listener._is_ours(_Fake(credentials)) == is_let_in  # type: ignore[arg-type]  # pyright: ignore
        root = memory_listener._CREDENTIALS.pack(99, 0, 5)  # pyright: ignore[reportPrivateUsage]
        assert memory_listener._is_ours(_Fake(root))  # type: ignore[arg-type]  # pyright: ignore


def _is_nobodys(_: object) -> bool:
    return False


class _Fake:
    """A socket of which the kernel says who the peer is."""

    def __init__(self, credentials: bytes) -> None:
        self._credentials = credentials

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (socket.SOL_SOCKET, socket.SO_PEERCRED, len(self._credentials))
        return self._credentials


async def test_a_stranger_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as listener:
        with monkeypatch.context() as patch:
            patch.setattr(memory_listener, "_is_ours", _is_nobodys)
            async with raw_connection(listener.paths[0]) as client:
                assert await client.is_ended()
            assert listener.budget.segments.nbytes == 0
        async with raw_session(listener.paths[0]):
            pass


async def test_who_does_not_say_hello_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as listener:
        for hello in (b"ammem2\n", b"HTTP/1."):
            async with raw_connection(listener.paths[0]) as client:
                await client.say_bytes(hello)
                assert await client.is_ended()
        monkeypatch.setattr(memory_listener, "HELLO_SECONDS", 0.01)
        for hello in (b"", b"ammem1"):
            async with raw_connection(listener.paths[0]) as client:
                await client.say_bytes(hello)
                assert await client.is_ended()
        assert listener.budget.segments.nbytes == 0


async def test_a_hello_in_pieces_with_what_follows() -> None:
    async with listening() as listener, raw_connection(listener.paths[0]) as client:
        for byte in b"ammem1":
            await client.say_bytes(bytes([byte]))
            await asyncio.sleep(0)
        await client.say_bytes(b"\n" + b"\0\0\0\4\x0a\x02\x10\x05")  # allocate 5 bytes
        client.welcome(await client.heard())
        assert (await client.heard()).segment.nbytes == PAGE


async def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_listener, "MAX_SESSIONS", 3)
    async with listening() as listener, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_session(listener.paths[0])) for _ in range(3)]
        async with raw_connection(listener.paths[0]) as one_more:
            assert await one_more.is_ended()
        clients[1].close()
        await until(lambda: listener.session(clients[1].secret) is None)
        await asyncio.sleep(0)
        async with raw_session(listener.paths[0]):
            pass


async def test_where_no_memory_is_left_a_client_is_sent_away() -> None:
    async with listening(budget_of(PAGE // 2)) as listener, raw_connection(listener.paths[0]) as client:
        await client.say_bytes(b"ammem1\n")
        assert await client.is_ended()


async def test_closing_ends_the_sessions() -> None:
    async with listening() as listener, AsyncExitStack() as stack:
        client = await stack.enter_async_context(raw_session(listener.paths[0]))
        silent = await stack.enter_async_context(raw_connection(listener.paths[0]))
        await client.say(allocate=pb.Allocate(request=1, nbytes=PAGE))
        await listener.close()
        assert await client.is_ended()
        assert await silent.is_ended()
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(place_of(listener.paths[0]))
