"""Private servers: started, used, stopped, whatever happens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import arraymill as am
from arraymill import _local
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, ParameterError

X = np.arange(1000.0)
ARENA = "48MiB"


def socket_of(mill: am.Client | am.AsyncClient) -> Path:
    return Path(mill.address.removeprefix("unix:"))


def test_a_private_server() -> None:
    private = am.local(workers=1, arena=ARENA)
    assert repr(private) == "<Local server: 1 workers, arena 48MiB, not running>"
    with private as mill:
        assert mill.sum(X) == X.sum()
        assert mill.info().workers == 1
        socket = socket_of(mill)
        assert socket.is_socket()
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert "process" in repr(private)
    assert not socket.parent.exists()
    assert repr(private).endswith("not running>")
    mill = private.__enter__()
    assert mill.sum(X) == X.sum(), "it can be started again"
    socket = socket_of(mill)
    private.__exit__(LookupError, LookupError(), None)
    assert not socket.parent.exists(), "an error in the block stops it too"


async def test_a_private_server_for_coroutines() -> None:
    async with am.local(workers=1, arena=ARENA) as mill:
        assert await mill.sum(X) == X.sum()
        socket = socket_of(mill)
    assert not socket.parent.exists()


CHILD = """
import os, arraymill as am
private = am.local(workers=1, arena="48MiB")
mill = private.__enter__()
print(mill.sum([1, 2]), mill.address.removeprefix("unix:"), flush=True)
os._exit(0)
"""


def test_it_dies_with_its_parent() -> None:
    said = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True).stdout
    socket = said.split()[1]
    end = time.monotonic() + 10
    while any(socket in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < end, "the server survives its parent"
        time.sleep(0.05)
    folder = Path(socket).parent
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


def test_a_server_that_does_not_start(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(
            ParameterError,
            match=r"cannot run with workers=2, arena='1 lightyear' \(exit code \d\); what it says on stderr tells why",
        ),
        am.local(arena="1 lightyear"),
    ):
        pass
    assert "lightyear" in capfd.readouterr().err


def test_a_server_that_never_gets_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local, "START_SECONDS", 0.01)
    with pytest.raises(ConnectionFailedError, match=r"not ready within 0\.01 s"), am.local(workers=1, arena=ARENA):
        pass


def test_a_module_in_the_current_directory_hides_nothing_from_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "structlog.py").write_text("raise SystemExit('the wrong structlog')")
    monkeypatch.chdir(tmp_path)
    with am.local(workers=1, arena=ARENA) as mill:
        assert mill.sum(X) == X.sum()


@pytest.fixture
def no_folder_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folders of private servers lie in one that must be empty at the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_folder_left")
def test_a_folder_whose_name_is_too_long_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tmp_path / ("x" * 90)
    parent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(parent))
    with am.local(workers=1, arena=ARENA) as mill:
        assert mill.sum(X) == X.sum()
    parent.rmdir()


async def test_a_cancelled_start_leaves_neither_process_nor_folder() -> None:
    private = am.local(workers=1, arena=ARENA)
    start = asyncio.create_task(private.__aenter__())
    await asyncio.sleep(0)
    assert "process" in repr(private)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert repr(private).endswith("not running>")


@pytest.mark.usefixtures("no_folder_left")
async def test_ctrl_c_before_there_is_a_client_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(address: str) -> None:
        raise KeyboardInterrupt(address)

    monkeypatch.setattr(_local, "Client", interrupted)
    monkeypatch.setattr(_local, "AsyncClient", interrupted)
    private = am.local(workers=1, arena=ARENA)
    with pytest.raises(KeyboardInterrupt):
        private.__enter__()
    with pytest.raises(KeyboardInterrupt):
        await private.__aenter__()
    assert repr(private).endswith("not running>")


def test_a_client_only_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> object:
        return None if name == "msgspec" else object()

    monkeypatch.setattr(_local, "find_spec", find_spec)
    with pytest.raises(ArraymillError) as caught, am.local():
        pass
    assert str(caught.value) == ("a private server needs msgspec, not installed here: pip install 'arraymill[server]'")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0}, "workers is 0, it must be a whole number, at least 1"),
        ({"workers": "2"}, "workers is '2', it must be a whole number"),
        ({"workers": True}, "workers is True, it must be a whole number"),
        ({"arena": 2.5e8}, r"arena is 250000000\.0, it must be a whole number"),
        ({"arena": None}, "arena is None, it must be a whole number"),
        ({"arena": -1}, "arena is -1, it must be a whole number"),
    ],
)
def test_what_no_server_can_run_with(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        am.local(**options)
