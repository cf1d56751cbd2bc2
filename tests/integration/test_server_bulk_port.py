"""The bulk port of real servers: where it is, that it is used, and what a server says that cannot have it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from addresses import needs_ipv6
from bulk_lane import count_traffic, wait_for_bulk
from servers import running_server

import arraymill as am
from arraymill_server.app.exit_codes import ExitCode

SECONDS = 30
X = np.resize(np.random.default_rng(3).random(1001), (1500, 1000))


def start_in_vain(*options: str) -> str:
    """Start a server that must refuse; return what it says on stderr."""
    command = [sys.executable, "-m", "arraymill_server", "--workers", "1", "--arena", "48MiB", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.CONFIG, ""), done.stderr
    return done.stderr.splitlines()[-1]  # gRPC may have said something before


def use(address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bool]:
    """Run a job of 12 MB; return the bulk port that the server tells, and whether the lane was used."""
    with monkeypatch.context() as patch:
        traffic = count_traffic(patch)
        wait_for_bulk(patch)
        with am.Client(address, retry_for=0, shared=False) as mill:
            assert np.array_equal(mill.transform("sqrt", X), np.sqrt(X))
            port = mill.info().bulk_port
        assert traffic.sent_in_bulk + traffic.sent_in_frames == X.nbytes
        return port, traffic.in_bulk > 0


def is_reached(host: str, port: int) -> bool:
    with suppress(OSError):
        socket.create_connection((host, port), SECONDS).close()
        return True
    return False


def test_a_server_of_unix_sockets_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server("--listen", f"unix:{tmp_path}/socket", workers=1, arena="64MiB") as server:
        assert use(server.address, monkeypatch) == (0, False)


def test_a_unix_socket_beside_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane is there for those who come by the port."""
    options = ("--listen", f"unix:{tmp_path}/socket", "--listen", "127.0.0.1:0")
    with running_server(*options, workers=1, arena="64MiB") as server:
        by_path, by_port = (use(address, monkeypatch) for address in server.addresses)
        assert by_path[0] == by_port[0] > 0
        assert (by_path[1], by_port[1]) == (False, True)


def test_a_server_that_shall_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server("--bulk-port", "off", workers=1, arena="64MiB") as server:
        assert use(server.address, monkeypatch) == (0, False)


def test_a_port_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_server("--bulk-port", str(port), workers=1, arena="64MiB") as server:
        assert use(server.address, monkeypatch) == (port, True)
        said = start_in_vain("--listen", "127.0.0.1:0", "--bulk-port", str(port))
        assert said.startswith(f"arraymill: cannot listen on port {port} for the bulk lane: Address already in use")
        assert said.endswith("choose another --bulk-port or --bulk-port off")


def test_what_is_no_port() -> None:
    said = start_in_vain("--listen", "127.0.0.1:0", "--bulk-port", "-1")
    assert said == "arraymill: bulk_port: '-1' is not a port; write a number up to 65535, 0 for any free one, or off"


@needs_ipv6
def test_a_server_of_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server("--listen", "[::1]:0", workers=1, arena="64MiB") as server:
        port, is_used = use(server.address, monkeypatch)
        assert is_used
        assert not is_reached("127.0.0.1", port)


def test_a_name_and_one_of_its_addresses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """localhost may be both ::1 and 127.0.0.1: the lane is at one port of both."""
    options = ("--listen", "localhost:0", "--listen", "127.0.0.1:0")
    with running_server(*options, workers=1, arena="64MiB") as server:
        (port, is_used), again = (use(address, monkeypatch) for address in server.addresses)
        assert is_used
        assert again == (port, True)
        for *_, place in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM):
            assert is_reached(str(place[0]), port), place


def test_an_address_of_another_machine_is_not_the_lanes_affair() -> None:
    assert "cannot listen on 192.0.2.1:0: the address is" in start_in_vain("--listen", "192.0.2.1:0")


def test_a_server_ends_whoever_is_connected() -> None:
    with running_server(workers=1, arena="48MiB") as server:
        with am.Client(server.address) as mill:
            port = mill.info().bulk_port
        strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        os.kill(server.pid, signal.SIGTERM)
        assert server.process.wait(SECONDS) == ExitCode.OK
        for stranger in strangers:
            stranger.close()
