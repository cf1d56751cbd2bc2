"""Server processes that a benchmark starts and stops: they print one line with an address when they are ready."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

READY: Final = "ready:"

STOP_SECONDS: Final = 30.0
"""A server that has not ended so long after SIGTERM is killed."""


@contextmanager
def server_process(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Start a command; yield the address that it prints and its process id; end it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if READY not in line:
            raise RuntimeError(f"{' '.join(command)} said {line!r} instead of {READY!r}")
        yield line.split(READY)[1].split()[0], process.pid
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def arraymill_command(workers: int, arena: str = "", *more: str) -> list[str]:
    """Return the command of an arraymill server on a free TCP port; without an arena it chooses one itself."""
    options = ["--listen", "127.0.0.1:0", "--workers", str(workers), "--log-level", "warning"]
    return [sys.executable, "-m", "arraymill_server", *options, *(["--arena", arena] if arena else []), *more]


def peer_command(name: str, *arguments: str) -> list[str]:
    """Return the command of a peer's server, a module of `suite.servers`."""
    return [sys.executable, "-m", f"suite.servers.{name}", *arguments]


def announce(address: str, stdout: TextIO = sys.stdout) -> None:
    """Tell whoever started this server that it is ready."""
    print(f"{READY} {address}", file=stdout, flush=True)


def private_stdout() -> TextIO:
    """Return what was stdout; what libraries print there, and processes that they start, goes to stderr from now on."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stdout
