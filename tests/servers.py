"""Real servers for tests: a process, a port that it picked, and its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

READY = "arraymill ready:"
START_SECONDS = 30
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server process that is ready."""

    process: subprocess.Popen[str]
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def running_server(*options: str, workers: int = 2, arena: str = "128MiB") -> Generator[RunningServer]:
    """Start a server on a free port of the loopback interface; stop it by SIGTERM and expect exit code 0."""
    command = [sys.executable, "-m", "arraymill_server", "--workers", str(workers), "--arena", arena]
    if "--listen" not in options:
        command += ["--listen", "127.0.0.1:0"]
    command += ["--exit-on-stdin-eof", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(READY), f"the server said {line!r} and ended with {process.poll()}"
        yield RunningServer(process, tuple(line.removeprefix(READY).split()))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
    assert process.returncode in (0, -signal.SIGKILL), process.returncode
