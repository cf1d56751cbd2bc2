"""Machines for servers: this one, and odd ones that take root: little memory, a small /dev/shm, another clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Final

GROUP_BYTES: Final = 768 << 20
"""Memory of the control group: a server with its arena takes some 360 MiB of it."""

SHARED_BYTES: Final = 160 << 20
"""Of the /dev/shm: an arena of 128 MiB and a little more."""

NO_COMPILER: Final = "there is no C compiler for the shim of the clock"

_CGROUP: Final = Path("/sys/fs/cgroup")
_REMOVE_SECONDS: Final = 2.0


class NotHereError(Exception):
    """This machine does not let us; the message says why."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a server runs."""

    prefix: tuple[str, ...] = ()
    """Command in front of the server's."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """In addition to ours."""
    clock: Clock | None = None
    """The server's wall clock, if it can jump."""
    not_tried: Mapping[str, str] = field(default_factory=dict[str, str])
    """What cannot be had here, and why."""


@contextmanager
def plain_machine() -> Generator[Machine]:
    """This machine as it is."""
    yield Machine()


@contextmanager
def small_machine() -> Generator[Machine]:
    """A machine with GROUP_BYTES of memory.

    Raises:
        NotHereError: We may not.
    """
    with _little_memory(GROUP_BYTES) as prefix:
        yield Machine(prefix)


@contextmanager
def odd_machine() -> Generator[Machine]:
    """A machine with SHARED_BYTES in its /dev/shm, and a wall clock that can jump: as far as they can be had.

    Raises:
        NotHereError: Neither can.
    """
    with ExitStack() as stack:
        prefix: tuple[str, ...] = ()
        clock: Clock | None = None
        not_tried: dict[str, str] = {}
        try:
            prefix = stack.enter_context(_own_shared_memory(SHARED_BYTES))
        except NotHereError as exc:
            not_tried["/dev/shm"] = f"not tried: {exc}"
        try:
            clock = stack.enter_context(Clock.made())
        except NotHereError as exc:
            not_tried["clock"] = f"not tried: {exc}"
        if len(not_tried) == 2:
            raise NotHereError("; ".join(not_tried.values()))
        yield Machine(prefix, {} if clock is None else clock.environment, clock, not_tried)


@contextmanager
def _little_memory(nbytes: int) -> Generator[tuple[str, ...]]:
    """Make a control group with so much memory.

    Returns:
        The command that runs the rest of a command line in it.

    Raises:
        NotHereError: We may not.
    """
    group, limit = _memory_group()
    try:
        group.mkdir()
        (group / limit).write_text(str(nbytes))
    except OSError as exc:
        with suppress(OSError):
            group.rmdir()
        raise NotHereError(f"no control group for memory can be made: {exc.strerror}") from exc
    prefix = "sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"
    try:
        if not _runs(prefix):
            raise NotHereError("no process can be moved to a control group of its own")
        yield prefix
    finally:
        _remove(group)


@contextmanager
def _own_shared_memory(nbytes: int) -> Generator[tuple[str, ...]]:
    """Prepare a /dev/shm of so many bytes that only one command sees.

    Returns:
        The command that runs the rest of a command line there.

    Raises:
        NotHereError: We may not.
    """
    script = f'mount -t tmpfs -o size={nbytes} tmpfs /dev/shm && exec "$@"'
    prefix = "unshare", "--mount", "sh", "-c", script, "sh"
    if shutil.which("unshare") is None or not _runs(prefix):
        raise NotHereError("no /dev/shm of its own can be mounted: that takes root and unshare")
    yield prefix


def fill_shared_memory(pid: int) -> int:
    """Fill the /dev/shm that a process sees; return the bytes that were free."""
    path = Path("/proc", str(pid), "root", "dev", "shm", "full")
    written = 0
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            written += file.write(bytes(1 << 20))
    return written


class Clock:
    """A wall clock that can jump, for processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        self._shim = folder / "clock.so"
        self.jump(0.0)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._shim), "CHAOS_CLOCK": str(self._offset)}

    def jump(self, seconds: float) -> None:
        """Let the clock go so much before, or behind, the true time."""
        self._offset.touch()
        with self._offset.open("r+b") as file:  # in place: processes have mapped it
            file.write(int(seconds).to_bytes(8, "little", signed=True))

    @classmethod
    @contextmanager
    def made(cls) -> Generator[Clock]:
        """Compile the shim.

        Raises:
            NotHereError: There is no C compiler.
        """
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise NotHereError(NO_COMPILER)
        with tempfile.TemporaryDirectory(prefix="chaos-clock-") as name:
            clock = cls(Path(name))
            source = Path(__file__).with_name("clock.c")
            command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(clock._shim), str(source), "-ldl"]
            subprocess.run(command, check=True, capture_output=True)
            yield clock


def _memory_group() -> tuple[Path, str]:
    """Return a new group beneath our own, and the name of its limit, by version 1 or 2."""
    name = f"chaos-{os.getpid()}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return _CGROUP / "memory" / path.lstrip("/") / name, "memory.limit_in_bytes"
    if "memory" not in _read(_CGROUP / "cgroup.controllers").split():
        raise NotHereError("no control group of this machine limits memory")
    return _CGROUP / name, "memory.max"


def _runs(prefix: Sequence[str]) -> bool:
    """Whether a command can be run behind a prefix."""
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _remove(group: Path) -> None:
    """Remove a group whose last process is just leaving."""
    for _ in range(20):
        with suppress(OSError):
            group.rmdir()
            return
        sleep(_REMOVE_SECONDS / 20)
