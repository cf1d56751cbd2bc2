"""Shared memory and engines for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from arraymill_server.arena.arena import Arena
from arraymill_server.arena.attach import RawBytes
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.engine.supervisor import WorkerMain
from arraymill_server.testing.faults import faulty_main

WORKER_MEMORY: Final = 64 << 20
"""Bytes; enough for every kernel, and soon used up."""


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
    start_timeout_seconds: float = 30.0,
    in_flight: int = 2,
) -> AsyncGenerator[PoolEngine, None]:
    """Run a pool, of workers that take orders of `testing.faults` unless told otherwise."""
    engine = PoolEngine(
        raw,
        workers,
        worker_memory_bytes=WORKER_MEMORY,
        task_timeout_seconds=task_timeout_seconds,
        start_timeout_seconds=start_timeout_seconds,
        in_flight=in_flight,
        main=main,
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()
