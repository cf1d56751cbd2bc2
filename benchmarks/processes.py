"""Server processes that a benchmark starts and stops: they print one line with an address when they are ready."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
READY = "ready:"


@contextmanager
def server_process(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Start a command; yield the address that it prints and its process id; end it."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if READY not in line:
            raise RuntimeError(f"{' '.join(command)} said {line!r} instead of {READY!r}")
        yield line.split(READY)[1].split()[0], process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)


def arraymill_command(workers: int, arena: str = "") -> list[str]:
    """The command of an arraymill server on a free TCP port; without an arena it chooses one itself."""
    options = ["--listen", "127.0.0.1:0", "--workers", str(workers), "--log-level", "warning"]
    return [sys.executable, "-m", "arraymill_server", *options, *(["--arena", arena] if arena else [])]


def peer_command(name: str) -> list[str]:
    """The command of a peer's server: a script of this folder."""
    return [sys.executable, str(HERE / f"{name}.py")]
