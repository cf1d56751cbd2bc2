"""Connections are counted, idle ones too, and nothing else is."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from addresses import needs_ipv6

from arraymill_server.rpc import connections as module
from arraymill_server.rpc.connections import Connections


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_connections_of_all_kinds(tmp_path: Path, host: str) -> None:
    path = str(tmp_path / "socket")
    with ExitStack() as stack:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        tcp = stack.enter_context(socket.create_server((host, 0), family=family))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(path)
        unix.listen()
        other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connections = Connections({tcp.getsockname()[1]}, {path})
        assert await connections.count() == 0
        for number, listener in enumerate((tcp, unix, tcp, other)):
            client = stack.enter_context(socket.socket(listener.family))
            client.connect(listener.getsockname())
            stack.enter_context(listener.accept()[0])
            assert await connections.count() == min(number + 1, 3)
        assert repr(connections) == "<Connections: 3 open>"


async def test_a_count_is_good_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 100.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = Connections({listener.getsockname()[1]}, ())
        assert await connections.count() == 0
        with socket.create_connection(listener.getsockname(), timeout=20), listener.accept()[0]:
            assert await connections.count() == 0
            monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
            assert await connections.count() == 1


async def test_who_asks_while_somebody_looks_gets_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", 100.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = Connections({listener.getsockname()[1]}, ())
        with socket.create_connection(listener.getsockname(), timeout=20), listener.accept()[0]:
            assert await asyncio.gather(*(connections.count() for _ in range(3))) == [1, 1, 1]


async def test_who_cannot_look_tells_what_was_known(tmp_path: Path) -> None:
    """To list its descriptors a process needs one more: the information is told without."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptors = tmp_path / "fd"
        descriptors.symlink_to("/proc/self/fd")
        connections = Connections({listener.getsockname()[1]}, (), descriptors=descriptors)
        with socket.create_connection(listener.getsockname(), timeout=20), listener.accept()[0]:
            assert await connections.count() == 1
        descriptors.unlink()
        assert await connections.count() == 1
