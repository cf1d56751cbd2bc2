"""The command as a process: pipes and terminals, signals, a server that goes away, packages that are missing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from servers import RunningServer, running_server

import arraymill as am
from arraymill.cli._exit_codes import ExitCode

COMMAND = [sys.executable, "-m", "arraymill"]
SECONDS = 60

HIDING = """
import os, sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in os.environ["HIDDEN"].split()
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A sitecustomize under which packages seem not to be installed."""


def mill(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


def huge(path: Path, rows: int) -> Path:
    """Make a sparse file of rows of 64 KiB of zeros; it takes no space on the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (rows, 8192)})
        file.truncate(file.tell() + rows * 8192 * 8)
    return path


def test_piped_output_is_plain(server: RunningServer, tmp_path: Path) -> None:
    path = huge(tmp_path / "x.npy", 1000)
    done = mill("compute", "x.sum()", f"x={path}", "--server", server.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.0\n", "")


def test_on_a_terminal_a_bar_shows_bytes_and_rate_and_stdout_stays_clean(server: RunningServer, tmp_path: Path) -> None:
    path = huge(tmp_path / "x.npy", 4_000)
    controller, terminal = pty.openpty()
    arguments = ["mean", str(path), "--server", server.address]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=terminal, text=True, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(terminal)
        shown = _read_all(controller)
        assert process.stdout is not None
        assert process.stdout.read() == "0.0\n"
    assert process.returncode == 0
    assert "mean" in shown
    assert "%" in shown
    assert "MiB of 250 MiB" in shown
    assert "/s" in shown


def _read_all(controller: int) -> str:
    """Read a terminal until its other side is closed."""
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # Linux says EIO when nobody has the terminal open any more
            part = b""
        if not part:
            os.close(controller)
            return b"".join(parts).decode(errors="replace")
        parts.append(part)


def test_a_reader_that_goes_away_is_no_failure_with_a_story(server: RunningServer) -> None:
    script = '"$0" -m arraymill info --operations --server "$1" | head -n 1; echo "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, server.address],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("operation ")
    assert int(done.stdout.splitlines()[1]) in {ExitCode.OK, ExitCode.BROKEN_PIPE}


@pytest.mark.parametrize(
    ("output", "words"), [("/dev/full", "No space left on device"), ("&-", "it is closed")], ids=["full", "closed"]
)
@pytest.mark.parametrize("command", ["jobs", "--help"])
def test_an_output_that_takes_nothing_is_one_line(server: RunningServer, command: str, output: str, words: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m arraymill {command} >{output}', sys.executable],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "ARRAYMILL_SERVER": server.address},
    )
    assert (done.returncode, done.stderr) == (ExitCode.INPUT, f"arraymill: the output cannot be written: {words}\n")


def _start_long_job(address: str, folder: Path) -> subprocess.Popen[str]:
    """Start a job of 8 GiB and wait until its output file has come into being."""
    source = huge(folder / "x.npy", 1 << 17)
    arguments = ["compute", "sqrt(x * x + 1).sum(axis=1)", f"x={source}", "-o", str(folder / "out.npy")]
    process = subprocess.Popen([*COMMAND, *arguments, "--server", address], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + SECONDS
    while not list(folder.glob(".out.npy.*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, ExitCode.TERMINATED, "terminated"),
    ],
)
def test_a_signal_cancels_the_job_and_leaves_no_file(
    sent: signal.Signals, code: ExitCode, word: str, server: RunningServer, tmp_path: Path
) -> None:
    process = _start_long_job(server.address, tmp_path)
    process.send_signal(sent)
    _, error = process.communicate(timeout=SECONDS)
    # click ends the line in which a terminal shows ^C.
    assert (process.returncode, error.lstrip("\n")) == (code, f"arraymill: {word}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    _wait_until_idle(server.address)


def _wait_until_idle(address: str) -> None:
    """The server has stopped the job and has all of its memory back."""
    end = time.monotonic() + SECONDS
    with am.Client(address) as client:
        while (info := client.info()).running_jobs or info.arena_free_bytes < info.arena_bytes:
            assert time.monotonic() < end, info
            time.sleep(0.02)


def test_a_server_that_dies_midway_is_a_lost_connection(tmp_path: Path) -> None:
    with running_server() as own:
        process = _start_long_job(own.address, tmp_path)
        own.process.kill()
        _, error = process.communicate(timeout=SECONDS)
    assert process.returncode == ExitCode.CONNECTION
    assert error.startswith("arraymill: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_serve_is_the_server_with_its_own_options() -> None:
    done = mill("serve", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: arraymill serve")
    assert "--listen" in done.stdout
    refused = mill("serve", "--workers", "none")
    assert refused.returncode != 0
    assert "workers" in refused.stderr


def test_serve_starts_and_stops(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    command = [*COMMAND, "serve", "--listen", address, "--workers", "1", "--arena", "48MiB", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"arraymill ready: {address}\n"
        assert mill("health", env={"ARRAYMILL_SERVER": address}).stdout == f"{address}: SERVING\n"
        process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("arguments", "hidden", "extra"),
    [
        (["serve"], "multiprocess", "server"),
        (["serve", "--help"], "msgspec", "server"),
        (["demo"], "structlog", "server"),
        (["demo", "--every", "4"], "global_land_mask", "demo"),
        (["sum", "x.npy"], "click", "cli"),
        (["--help"], "rich", "cli"),
    ],
)
def test_a_missing_extra_is_one_line(arguments: Sequence[str], hidden: str, extra: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    done = mill(*arguments, env={"PYTHONPATH": str(tmp_path), "HIDDEN": hidden}, cwd=tmp_path)
    assert done.returncode == ExitCode.MISSING
    assert done.stdout == ""
    assert done.stderr.startswith("arraymill: ")
    assert done.stderr.endswith(f"needs the package {hidden}; install it: pip install 'arraymill[{extra}]'\n")
    assert done.stderr.count("\n") == 1


def test_a_module_in_the_current_directory_hides_nothing_from_the_server(tmp_path: Path) -> None:
    (tmp_path / "asyncio.py").write_text("raise SystemExit('the wrong asyncio')")
    command = str(Path(sys.executable).with_name("arraymill"))
    done = subprocess.run(
        [command, "serve", "--help"], capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    done = mill("demo", "--every", "4", "--workers", "2", "--png", str(tmp_path / "earth.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "public domain" in done.stdout
    assert "72 tiles at once" in done.stdout
    assert done.stdout.rstrip().endswith("jobs gave NumPy's answer.")
    assert (tmp_path / "earth.png").read_bytes().startswith(b"\x89PNG")
