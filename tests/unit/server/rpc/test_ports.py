"""Ports that one process hands to the next. What another process does is done by one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arraymill_server.rpc.ports import Listener, leave, listeners, share, steer

OTHER = """
import socket, sys
from arraymill_server.rpc.ports import leave, listeners, share, steer
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
mine = listeners({sock.getsockname()[1]})
print(len(mine), flush=True)
for line in sys.stdin:
    if line.strip() == "accept":
        sock.settimeout(20)
        sock.accept()[0].close()
        print("accepted", flush=True)
    else:
        print(eval(line)(mine), flush=True)
"""


class Other:
    """Another process that listens on the same port."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def does(self, what: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def other(port: int) -> Generator[Other]:
    command = [sys.executable, "-c", OTHER, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield Other(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def come(port: int, times: int = 20) -> None:
    for _ in range(times):
        socket.create_connection(("127.0.0.1", port)).close()


def accepted(server: socket.socket) -> int:
    """Accept all connections that wait."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_only_sockets_that_listen_are_found(server: socket.socket) -> None:
    port = port_of(server)
    before = descriptors()
    with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0]:
        assert listeners({port, client.getsockname()[1]}) == [
            Listener(server.fileno(), os.fstat(server.fileno()).st_ino)
        ]
    assert listeners(set()) == listeners({port + 1}) == []
    assert descriptors() == before, "nothing is left open"


def test_a_port_that_is_not_shared_is_ours_alone(server: socket.socket) -> None:
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port_of(server)), reuse_port=True)
    share(listeners({port_of(server)}))
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port_of(server)))


def test_nobody_is_steered_away_or_left_where_nobody_else_listens(server: socket.socket) -> None:
    mine = listeners({port_of(server)})
    assert (steer(mine), leave(mine)) == (0, 0)
    come(port_of(server))
    assert accepted(server) == 20


def test_the_new_one_gets_all_connections(server: socket.socket) -> None:
    port = port_of(server)
    mine = listeners({port})
    share(mine)
    with other(port) as new:
        come(port, 100)
        assert 0 < accepted(server) < 100, "the kernel spreads them"
        assert new.does("steer") == "1"
        come(port, 50)
        assert accepted(server) == 0
        assert leave(mine) == 1
        assert listeners({port}) == []
        assert new.does("leave") == "0", "nobody else listens there"
        assert new.does("accept") == "accepted"


def test_a_third_one_gets_all_when_the_first_has_left(server: socket.socket) -> None:
    port = port_of(server)
    mine = listeners({port})
    share(mine)
    with other(port) as second:
        second.does("share")
        assert second.does("steer") == "1"
        leave(mine)
        with other(port) as third:
            assert third.does("steer") == "1"
            come(port, 1)
            assert third.does("accept") == "accepted"


def test_connections_that_stand_go_on(server: socket.socket) -> None:
    port = port_of(server)
    mine = listeners({port})
    share(mine)
    with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as served, other(port):
        assert leave(mine) == 1
        client.sendall(b"still there?")
        assert served.recv(100) == b"still there?"
