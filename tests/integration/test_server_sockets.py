"""Unix sockets of real servers: one server per path, whatever the others do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from servers import RunningServer, running_server

import arraymill as am
from arraymill_server.app.exit_codes import ExitCode

SECONDS = 30


def start_in_vain(listen: Sequence[str]) -> str:
    """Start a server that must refuse; return what it says on stderr."""
    command = [sys.executable, "-m", "arraymill_server", "--workers", "1", "--arena", "48MiB"]
    for address in listen:
        command += ["--listen", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.CONFIG, ""), done.stderr
    return done.stderr


def answer(address: str) -> float:
    with am.Client(address) as mill:
        return float(mill.sum([1.0, 2.0]))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of a path and a port, which no other may take."""
    path = tmp_path_factory.mktemp("first") / "socket"
    with running_server(
        "--listen", f"unix:{path}", "--listen", "127.0.0.1:0", workers=1, arena="48MiB"
    ) as server:  # fmt: skip
        yield server
    assert not list(path.parent.iterdir())


def test_a_second_server_leaves_the_first_its_socket(first: RunningServer) -> None:
    path, _ = first.addresses
    assert f"cannot listen on {path}: another server listens there" in start_in_vain([path])
    assert answer(path) == 3


@pytest.mark.parametrize("is_unix_first", [False, True])
def test_a_start_that_fails_leaves_the_sockets_of_others(first: RunningServer, is_unix_first: bool) -> None:
    path, port = first.addresses
    start_in_vain([path, port] if is_unix_first else [port, path])
    assert Path(path.removeprefix("unix:")).is_socket()
    assert answer(path) == 3


def test_a_start_that_fails_leaves_no_socket_of_its_own(first: RunningServer, tmp_path: Path) -> None:
    _, port = first.addresses
    assert f"cannot listen on {port}" in start_in_vain([f"unix:{tmp_path}/socket", port])
    assert not list(tmp_path.iterdir())


def test_a_socket_of_another_kind_of_server_stays_too(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert "another server listens there" in start_in_vain([f"unix:{path}"])
        assert path.is_socket()
    path.unlink()
    assert not list(tmp_path.iterdir())


def test_the_socket_of_a_killed_server_is_free(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with running_server("--listen", address, workers=1, arena="48MiB") as killed:
        os.kill(killed.pid, signal.SIGKILL)
        killed.process.wait(SECONDS)
    assert (tmp_path / "socket").is_socket()
    with running_server("--listen", address, workers=1, arena="48MiB") as next_one:
        assert answer(next_one.address) == 3
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    said = start_in_vain([f"unix:{tmp_path}/none/socket"])
    assert f"cannot listen on unix:{tmp_path}/none/socket: No such file or directory" in said
    assert said.count("\n") == 1


def test_nobody_takes_over_a_port_unasked(first: RunningServer) -> None:
    _, address = first.addresses
    for taken in (address, f"0.0.0.0:{address.rpartition(':')[2]}"):
        assert f"cannot listen on {taken}: the address is in use" in start_in_vain([taken])
    with running_server("--listen", address, "--take-over", workers=1, arena="48MiB") as second:
        start_in_vain([address])
        assert answer(second.address) == 3
