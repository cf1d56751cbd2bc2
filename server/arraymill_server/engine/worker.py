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
from time import monotonic
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.arena.segments import map_segment
from arraymill_server.engine.messages import REQUEST_BYTES, Hello, MapSegment, Request, decode_order, encode
from arraymill_server.engine.perform import TaskRunner, perform
from arraymill_server.engine.pipe import Pipe
from arraymill_server.engine.processes import Connection, die_with_server, leave_fork_server
from arraymill_server.plan.interpreter import Interpreter

LOOK_SECONDS: Final = 0.1
"""How often, at most, a worker looks at its memory between two tasks; a look takes 15 µs."""

NICENESS: Final = 5
"""By how much workers give way to the server on a busy machine. They are never idle then, and what clients wait for is
a moment of the event loop: with as many busy workers as cores, refusals took 125 ms at the 99th percentile without
this, and 25 ms with it (see `make chaos ARGS=overload`). A machine of its own gives workers what is left, as before."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker is told at its start."""

    memory_bytes: int
    """Private memory beyond what the process has at its start."""
    oom_score: int = 0
    """For /proc/self/oom_score_adj; see `oom.oom_score`."""


def main(pipe: Connection, raw: RawBytes, settings: WorkerSettings) -> None:
    """Be a worker until the pipe ends."""
    confine(settings)
    space = Memory(attach(raw))
    serve(Pipe(pipe), Interpreter(space), space, settings.memory_bytes)


def confine(settings: WorkerSettings) -> None:
    """Set signals, limits and diagnostics of a worker process."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the server answers for it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold every client's arrays
    faulthandler.enable()
    with suppress(OSError):  # /proc may be read-only
        Path("/proc/self/oom_score_adj").write_text(str(settings.oom_score))
    leave_fork_server()
    die_with_server()
    _limit_data(settings.memory_bytes)


class Messages(Connection, Protocol):
    """The worker's pipe: `Pipe`, or a double of it."""

    def take_fd(self) -> int: ...


def serve(pipe: Messages, runner: TaskRunner, space: Memory, memory_bytes: int) -> None:
    """Say hello, then do what the server says until end of file."""
    meter = Meter()
    pipe.send_bytes(encode(Hello(os.getpid())))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order = decode_order(pipe.recv_bytes(REQUEST_BYTES))
            if isinstance(order, Request):
                _answer(pipe, order, runner, memory_bytes, meter)
            elif isinstance(order, MapSegment):
                _map(pipe.take_fd(), order, space)
            else:
                space.remove(order.number)


def _map(fd: int, order: MapSegment, space: Memory) -> None:
    try:
        space.add(order.number, map_segment(fd, order.size))
    finally:
        os.close(fd)


def _answer(pipe: Messages, request: Request, runner: TaskRunner, memory_bytes: int, meter: Meter) -> None:
    reply = perform(runner, request, memory_bytes)
    grown = meter.look()
    pipe.send_bytes(encode(reply if grown is None else replace(reply, grown_bytes=grown)))


class Meter:
    """Looks now and then at how much private memory this process has taken since the meter was made."""

    def __init__(self) -> None:
        self._first = resident_bytes()
        self._looked = monotonic()

    def look(self) -> int | None:
        """Return the bytes, None when it has looked a moment ago."""
        now = monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        return max(0, resident_bytes() - self._first)


def resident_bytes() -> int:
    """Return the private memory of this process that exists: its anonymous pages. The shared arena is not in it."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize()


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
