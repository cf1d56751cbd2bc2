"""Fixtures of every test: whatever a test makes, it also ends."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import psutil
import pytest
import pytest_asyncio
from hypothesis import settings
from memory_lane import segments_of

from arraymill_server.arena.arena import Arena
from arraymill_server.arena.attach import RawBytes
from arraymill_server.engine.processes import fork_server

settings.register_profile("quick", deadline=None, max_examples=15)  # make test stays below 5 minutes on 2 cores
settings.register_profile("wide", deadline=None, max_examples=200)  # of .ci/run: --hypothesis-profile=wide
settings.register_profile("thorough", deadline=None, max_examples=2000)  # others each time
settings.load_profile("quick")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Tests start hundreds of processes: without the bytecode of the first, each would compile all of the project again,
which doubles what a start costs."""

GRACE_SECONDS: Final = 3.0
"""How long what a test has ended may take to be gone."""

LASTING_THREADS: Final = ("MainThread", "asyncio_", "arraymill", "Dummy-")
"""Beginnings of names: the test's own, the default executor of an event loop, which ends with the loop, the event loop
of synchronous clients, of which there is one in a process, and what stands for a thread of gRPC that has run Python."""

LASTING_TARGETS: Final = ("(_poll_wrapper)",)
"""Ends of names: gRPC's poller, of which there is one in a process that has ever used grpc.aio."""

_arenas: WeakSet[Arena] = WeakSet()


def _children(pid: int) -> set[int]:
    """Return the children of a process; psutil, which reads all of /proc, takes 20 times longer."""
    threads = Path(f"/proc/{pid}/task")
    try:
        return {int(child) for thread in threads.iterdir() for child in (thread / "children").read_text().split()}
    except FileNotFoundError:  # the process has ended, or the kernel has no such file
        return {child.pid for child in psutil.Process(pid).children()} if psutil.pid_exists(pid) else set()


def _processes() -> set[str]:
    """Return all processes that descend from this one, except those that last; zombies count."""
    lasting = fork_server.pids()
    seen: set[int] = set()
    fresh = {os.getpid()}
    while fresh:
        fresh = set[int]().union(*map(_children, fresh)) - seen
        seen |= fresh
    return {f"process {pid}" for pid in seen - lasting}


def _leases() -> set[str]:
    """Workspaces of jobs; resident arrays may live as long as their arena."""
    return {repr(lease) for arena in _arenas for lease in arena.leases if not lease.is_resident}


def _lasts(name: str) -> bool:
    return name.startswith(LASTING_THREADS) or name.endswith(LASTING_TARGETS)


def _belongings() -> dict[str, set[Any]]:
    """Return everything that a test could leave, by kind."""
    return {
        "processes": _processes(),
        "threads": {thread for thread in threading.enumerate() if not _lasts(thread.name)},
        "files in /dev/shm": {path.name for path in Path("/dev/shm").iterdir()},
        "leases": _leases(),
        "segments": segments_of(),
    }


def _left(before: dict[str, set[Any]]) -> dict[str, set[Any]]:
    return {kind: things - before[kind] for kind, things in _belongings().items() if things - before[kind]}


@pytest.fixture(scope="session", autouse=True)
def lasting_fork_server() -> Iterator[None]:
    """Hold the fork server, so that a pool starts in milliseconds; after the last test nothing may be left of it."""
    fork_server.hold()
    yield
    fork_server.release()
    assert not (left := _processes()), f"the session leaves {left}"


@pytest.fixture(scope="session", autouse=True)
def known_arenas() -> Iterator[None]:
    """Note every arena that tests make."""
    init = Arena.__init__

    def noting_init(self: Arena, raw: RawBytes) -> None:
        init(self, raw)
        _arenas.add(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arena, "__init__", noting_init)
        yield


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a process, a thread, a file in /dev/shm, shared memory, an asyncio task or a lease of
    a job.

    Tests of the arena itself may leave leases: they are about them.
    """
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("leaves_no_task")
    before = _belongings()
    yield
    end = time.monotonic() + GRACE_SECONDS
    while left := _left(before):
        if "arena" in request.path.parts:
            left.pop("leases", None)
        if not left or time.monotonic() > end:
            break
        gc.collect()  # an error that a test has seen holds what it happened to, in circles
        time.sleep(0.01)
    assert not left, f"the test leaves {left}"


@pytest_asyncio.fixture
async def leaves_no_task() -> AsyncIterator[None]:
    """Fail a test whose event loop still has tasks after all of its fixtures have ended."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE_SECONDS)
    assert not left, f"the test leaves the tasks {left}"
