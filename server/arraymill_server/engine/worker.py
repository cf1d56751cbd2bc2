"""What runs in a worker process: a loop that reads a request, runs its task on the arena and answers.

A worker knows its own end of one pipe, the arena and nothing else. It leaves at end of file. Whatever goes wrong
outside a task ends it: the server notices, replaces it and runs its tasks elsewhere.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.engine.messages import REQUEST_BYTES, Hello, decode_request, encode
from arraymill_server.engine.perform import TaskRunner, perform
from arraymill_server.engine.processes import Connection, die_with_server, leave_fork_server
from arraymill_server.plan.interpreter import Interpreter

OOM_SCORE: Final = 500
"""Out of memory, the kernel shall take a worker, which costs a block, and not the server. 1,000 would also put workers
before everything else on the machine."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker is told at its start."""

    memory_bytes: int
    """Private memory beyond what the process has at its start."""


def main(pipe: Connection, raw: RawBytes, settings: WorkerSettings) -> None:
    """Be a worker until the pipe ends."""
    confine(settings.memory_bytes)
    serve(pipe, Interpreter(attach(raw)), settings.memory_bytes)


def confine(memory_bytes: int) -> None:
    """Set signals, limits and diagnostics of a worker process."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the server answers for it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold every client's arrays
    faulthandler.enable()
    with suppress(OSError):  # /proc may be read-only
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    leave_fork_server()
    die_with_server()
    _limit_data(memory_bytes)


def serve(pipe: Connection, runner: TaskRunner, memory_bytes: int) -> None:
    """Say hello, then answer requests until end of file."""
    pipe.send_bytes(encode(Hello(os.getpid())))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            _answer_one(pipe, runner, memory_bytes)


def _answer_one(pipe: Connection, runner: TaskRunner, memory_bytes: int) -> None:
    request = decode_request(pipe.recv_bytes(REQUEST_BYTES))
    pipe.send_bytes(encode(perform(runner, request, memory_bytes)))


def data_bytes() -> int:
    """Return the private memory of this process as RLIMIT_DATA counts it; the shared arena is not in it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status has no VmData; arraymill needs Linux")


def _limit_data(memory_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes() + memory_bytes
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
