"""Shared memory and engines for tests."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from arraymill_server.arena.arena import Arena
from arraymill_server.arena.attach import RawBytes
from arraymill_server.arena.segments import Segments
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.engine.processes import fork_server
from arraymill_server.engine.supervisor import WorkerMain
from arraymill_server.testing.faults import CELL_BYTES, faulty_main

WORKER_MEMORY: Final = 64 << 20
"""Bytes; enough for every kernel, and soon used up."""

CELLS: Final = [64 + CELL_BYTES * number for number in range(40)]
"""Where tasks of `testing.faults` write: within `shared_bytes`."""


def shared_bytes(size: int = 1 << 16) -> RawBytes:
    """Return zeroed memory that workers can inherit."""
    return Arena.create(size).raw


@asynccontextmanager
async def pool_of(
    workers: int,
    raw: RawBytes,
    *,
    main: WorkerMain = faulty_main,
    task_timeout_seconds: float = 60.0,
    worker_tasks: int = 0,
    worker_memory_bytes: int = WORKER_MEMORY,
    start_timeout_seconds: float = 30.0,
    in_flight: int = 2,
    segments: Segments | None = None,
) -> AsyncGenerator[PoolEngine, None]:
    """Run a pool, of workers that take orders of `testing.faults` unless told otherwise."""
    engine = PoolEngine(
        raw,
        workers,
        worker_memory_bytes=worker_memory_bytes,
        worker_tasks=worker_tasks,
        task_timeout_seconds=task_timeout_seconds,
        start_timeout_seconds=start_timeout_seconds,
        in_flight=in_flight,
        segments=segments,
        main=main,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def worker_pids() -> list[int]:
    """Return the workers that live: the children of the fork server."""
    files = [path for pid in fork_server.pids() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(pid) for path in files for pid in path.read_text().split()]


class Undead:
    """Lets SIGKILL stop the workers instead of ending them, until `let_go`: as if the kernel could not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pids: list[int] = []
        """Whom SIGKILL has met, in this order."""
        self._kill = os.kill
        self._is_over = False
        monkeypatch.setattr(os, "kill", self._stop)

    def _stop(self, pid: int, number: int) -> None:
        if self._is_over or number != signal.SIGKILL or pid in fork_server.pids():
            self._kill(pid, number)
        elif pid not in self.pids:
            self.pids.append(pid)
            self._kill(pid, signal.SIGSTOP)

    def let_go(self) -> None:
        """Let the kernel confirm all ends."""
        self._is_over = True
        for pid in self.pids:
            with suppress(ProcessLookupError):
                self._kill(pid, signal.SIGKILL)
