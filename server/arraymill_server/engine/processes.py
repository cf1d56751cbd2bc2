"""Worker processes through multiprocess' forkserver: the only module that knows how they come and go.

Theory of operation. The fork server is a small process of one thread that has NumPy and the worker's code loaded and
forks itself on request: a worker is ready in about 7 ms, and is never a copy of the server's threads, locks or gRPC.
It belongs to the whole server process; pools hold it, and the last one to let go ends it. Rules:

1. The server's end kills everything. Each worker asks the kernel for SIGKILL when the server's end of its start-up pipe
   closes (`die_with_server`), which reaches a worker that computes, hangs or is stopped. The fork server ends when
   nobody holds its `alive` pipe; so workers close their copy, else they would keep it and each other alive.
   PR_SET_PDEATHSIG was rejected: it watches the fork server.
2. BLAS and OpenMP read their number of threads when they are loaded, which is in the fork server: the limits stand in
   the environment as long as anybody holds it. They are set before the server has other threads, since changing the
   environment while a library reads it is not safe.
3. `__main__` of the server is left alone: multiprocess would run it again in every worker, and it imports gRPC.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib
import os
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from typing import Any, Final, Protocol, cast

PRELOAD: Final = ["numpy", "arraymill_server.engine.worker", "arraymill_server.engine.fork_server_end"]
"""What the fork server imports before it forks."""

ONE_THREAD: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
}
"""The environment that holds NumPy's libraries to one thread: workers are the parallelism."""

ANSWER_SECONDS: Final = 5.0
"""What a fork server that runs may take to start a process, which takes it 2 ms: one that takes longer is stopped, or
cannot be helped, and the event loop waits for it."""

END_SECONDS: Final = 1.0
"""What a fork server whose descriptors are closed may take to be gone: milliseconds, where the machine is busy."""

# multiprocess has neither types nor stubs; the Protocols below are all that is used of it.
_multiprocess: Final[Any] = importlib.import_module("multiprocess")
_connection: Final[Any] = importlib.import_module("multiprocess.connection")
_forkserver: Final[Any] = importlib.import_module("multiprocess.forkserver")
_resource_tracker: Final[Any] = importlib.import_module("multiprocess.resource_tracker")


MAX_FOLDER_BYTES: Final = 107 - len("/pymp-12345678/listener-12345678")
"""Longest name of the folder for temporary files: the fork server has its socket below it, of at most 107 bytes."""


class Process(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable once the process has ended, or the fork server has."""
        ...

    @property
    def exitcode(self) -> int | None:
        """The exit code, or the negative number of the signal; 255 when the fork server ended before it could tell."""
        ...

    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """The worker's end of its pipe."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def send_bytes(self, buf: bytes) -> None: ...

    def recv_bytes(self, maxlength: int | None = None) -> bytes: ...


class ForkServer:
    """The holders of the fork server. multiprocess has one per process, hence so has this class."""

    def __init__(self) -> None:
        self._holders = 0
        self._environment: dict[str, str | None] = {}

    def hold(self) -> None:
        """Keep the fork server until `release`; the first `spawn` starts it."""
        self._holders += 1
        if self._holders == 1:
            atexit.register(_kill_all)
            self._environment = {name: os.environ.get(name) for name in ONE_THREAD}
            os.environ.update(ONE_THREAD)

    def release(self) -> None:
        """Let go; after the last holder, end the fork server and multiprocess' resource tracker.

        All workers must have ended. Takes about 15 ms: SIGKILL for the one, since nothing is left to be tidied, and end
        of file for the other.
        """
        self._holders -= 1
        if self._holders:
            return
        atexit.unregister(_kill_all)
        server = _forkserver._forkserver
        if server._forkserver_pid is not None:
            os.kill(server._forkserver_pid, signal.SIGKILL)
        server._stop()
        _resource_tracker._resource_tracker._stop()
        for name, value in self._environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def wake(self) -> None:
        """Let a fork server that somebody has stopped go on; one that runs does not notice.

        Whoever waits for its word, of a process to be or of one that has ended, calls this first.
        """
        pid = _forkserver._forkserver._forkserver_pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)

    def pids(self) -> frozenset[int]:
        """The processes that serve workers without being one: the fork server and the resource tracker."""
        pids = (_forkserver._forkserver._forkserver_pid, _resource_tracker._resource_tracker._pid)
        return frozenset(pid for pid in pids if pid is not None)


fork_server: Final = ForkServer()
"""The fork server of this process."""


def folder_too_long() -> int | None:
    """Return the bytes of the name of the folder for temporary files, None if they are not too many."""
    length = len(os.fsencode(tempfile.gettempdir()))
    return length if length > MAX_FOLDER_BYTES else None


@contextmanager
def fork_server_beside() -> Generator[None]:
    """Start the fork server and hold it: what it imports takes as long as writing an arena, on another core.

    Where it cannot be started, whoever starts the first worker is told.
    """
    fork_server.hold()
    try:
        if folder_too_long() is None:
            with suppress(OSError), _main_left_alone():
                _multiprocess.get_context("forkserver").set_forkserver_preload(list(PRELOAD))
                _forkserver.ensure_running()
        yield
    finally:
        fork_server.release()


def spawn(name: str, main: Callable[..., None], *args: object) -> Process:
    """Start a process that runs `main(*args)`; blocks for about 2 ms (0.2 s when the fork server must start first).

    The fork server must be held.

    Connections and RawArrays among the arguments are inherited; the rest is pickled, once, here.

    Raises:
        OSError: No process, or no file descriptor, is to be had.
        EOFError: The fork server died in the attempt, or was killed because it did not answer.
    """
    context = _multiprocess.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    process = cast("Process", context.Process(target=main, args=args, name=name, daemon=True))
    fork_server.wake()
    with _main_left_alone(), _answering():
        process.start()
    return process


def connection(fd: int) -> Connection:
    """Return the connection over a socket; it owns the descriptor from now on."""
    return cast("Connection", _connection.Connection(fd))


@contextmanager
def _main_left_alone() -> Generator[None, None, None]:
    """Let multiprocess see a main module of the kind that it does not run again in the child."""
    main = sys.modules["__main__"]
    spec = main.__spec__
    main.__spec__ = ModuleSpec("arraymill_server.__main__", None)
    try:
        yield
    finally:
        main.__spec__ = spec


@contextmanager
def _answering() -> Generator[None, None, None]:
    """Kill a fork server that does not answer in time: whoever waits for it gets an error, and the next one a new one.

    A fork server that must be started first has as long as it takes: it imports NumPy from a disk that may be cold.
    """
    pid = _forkserver._forkserver._forkserver_pid
    if pid is None:
        yield
        return
    timer = threading.Timer(ANSWER_SECONDS, os.kill, (pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    try:
        yield
    except (ConnectionError, EOFError):
        # It has died, and closed its descriptors a moment before it can be waited for: until then multiprocess takes it
        # for alive, and would ask it again instead of starting another one.
        _wait_for_end(pid)
        raise
    finally:
        timer.cancel()


def _wait_for_end(pid: int) -> None:
    """Wait until a child can be waited for, at most END_SECONDS."""
    with suppress(OSError):  # it is gone already, or there is no descriptor left
        pidfd = os.pidfd_open(pid)
        try:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            ended.poll(END_SECONDS * 1000)
        finally:
            os.close(pidfd)


def _kill_all() -> None:
    """At the exit of a server that was not closed: multiprocess would wait for each worker, also for a stopped one."""
    for process in _multiprocess.active_children():
        process.kill()


def leave_fork_server() -> None:
    """In a worker: give back the `alive` pipe of the fork server (rule 1)."""
    server = _forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def die_with_server() -> None:
    """In a worker: let the kernel kill this process when the server ends, whatever either is doing.

    The start-up pipe carries nothing any more, so the only event it can have is that its writing end, which only the
    server holds, closes.
    """
    pipe: int = _multiprocess.parent_process().sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
