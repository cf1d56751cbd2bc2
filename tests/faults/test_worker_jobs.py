"""Jobs on the product's own workers, which are stopped, killed, frozen or asked to leave meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import cache

import numpy as np
import pytest
from groups import control_group
from milling import Mill
from patience import until
from plans import floats, graph_of, operation
from pools import pool_of, worker_pids

from arraymill_proto.errors import WorkerError
from arraymill_proto.graph import Graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine import cost, link, worker
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.request import Keep, Request
from arraymill_server.testing.exchange import MemoryExchange

ROWS, COLUMNS = 300, 40
X = np.random.default_rng(3).standard_normal((ROWS, COLUMNS))
BLOCK_ELEMENTS = 64
HANG_SECONDS = 10.0
"""What nothing here may take: it is there so that a hang is a failure."""

GRAPHS: dict[str, Graph] = {
    "sum": graph_of(floats(ROWS, COLUMNS), operation("sum", 0, axis=0)),
    "var": graph_of(floats(ROWS, COLUMNS), operation("var", 0)),
    "sqrt": graph_of(floats(ROWS, COLUMNS), operation("absolute", 0), operation("sqrt", 1)),
    "cumsum": graph_of(floats(ROWS, COLUMNS), operation("cumsum", 0, axis=0)),
}


@pytest.fixture
def arena() -> Arena:
    return Arena.create(4 << 20)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tasks take less time than in the product."""
    monkeypatch.setattr(cost, "FLOOR_SECONDS", 0.2)


@asynccontextmanager
async def mill_of(
    arena: Arena, *, workers: int = 2, worker_tasks: int = 0, task_timeout_seconds: float = 60.0
) -> AsyncGenerator[tuple[Mill, PoolEngine]]:
    async with pool_of(
        workers,
        arena.raw,
        main=worker.main,
        task_timeout_seconds=task_timeout_seconds,
        worker_tasks=worker_tasks,
    ) as engine:
        yield Mill(arena, engine, block_elements=BLOCK_ELEMENTS), engine


@cache
def expected() -> list[bytes]:
    """What the reference engine makes of the graphs."""
    arena = Arena.create(4 << 20)
    mill = Mill(arena, SerialEngine(arena.space), block_elements=BLOCK_ELEMENTS)
    with asyncio.Runner() as runner:
        return [runner.run(mill.compute(graph, [X]))[0].tobytes() for graph in GRAPHS.values()]


async def assert_all_right(mill: Mill, rounds: int) -> None:
    """Run all graphs side by side, again and again, and compare every bit."""
    known = await asyncio.to_thread(expected)
    for _ in range(rounds):
        results = await asyncio.gather(*(mill.compute(graph, [X]) for graph in GRAPHS.values()))
        assert [result.tobytes() for (result,) in results] == known


async def disturb(numbers: list[signal.Signals], times: int) -> None:
    """Send signals to random workers."""
    chance = random.Random(5)
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.0, 0.03))
        with suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(worker_pids()), chance.choice(numbers))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("numbers", [[signal.SIGSTOP], [signal.SIGKILL, signal.SIGTERM, signal.SIGBUS, signal.SIGABRT]])
async def test_the_bits_are_the_same_whatever_happens_to_workers(arena: Arena, numbers: list[signal.Signals]) -> None:
    async with mill_of(arena, task_timeout_seconds=0.3) as (mill, engine):
        trouble = asyncio.create_task(disturb(numbers, 6))
        async with asyncio.timeout(60):
            await assert_all_right(mill, 3)
            await trouble
            await assert_all_right(mill, 1)
        assert engine.status.restarts > 0
        assert arena.leases == ()


async def test_the_bits_are_the_same_while_workers_are_recycled(arena: Arena) -> None:
    async with mill_of(arena, worker_tasks=20) as (mill, engine):
        await assert_all_right(mill, 3)
        assert engine.status.recycled > 2
        assert engine.status.restarts == 0


@pytest.mark.parametrize("number", [signal.SIGSTOP, None])
@pytest.mark.parametrize("keep", [None, Keep("kept")])
async def test_a_cancelled_job_gives_its_memory_back(
    arena: Arena, number: signal.Signals | None, keep: Keep | None
) -> None:
    async with mill_of(arena) as (mill, engine):
        for pid in worker_pids() if number else ():
            os.kill(pid, number or 0)
        request = Request(GRAPHS["cumsum"], "me", keep)
        job = asyncio.create_task(mill.jobs.run(request, MemoryExchange([X])))
        await until(lambda: engine.status.busy > 0)
        job.cancel()
        async with asyncio.timeout(HANG_SECONDS):
            with pytest.raises(asyncio.CancelledError):
                await job
            assert (arena.leases, mill.residents.used_bytes) == ((), 0)
            await assert_all_right(mill, 1)
        assert set(engine.status.endings) <= {"cancelled"}


async def test_a_cancelled_job_disturbs_nobody(arena: Arena) -> None:
    async with mill_of(arena) as (mill, _):
        others = asyncio.create_task(assert_all_right(mill, 3))
        for graph in list(GRAPHS.values()) * 5:
            job = asyncio.create_task(mill.jobs.run(Request(graph, "me"), MemoryExchange([X])))
            await asyncio.sleep(0.005)
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job
        await others
        assert arena.leases == ()


async def test_a_frozen_worker_keeps_its_job_s_memory_and_nothing_else(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process of version 1 is in uninterruptible sleep: SIGKILL does not end it before it is thawed."""
    monkeypatch.setattr(link, "FENCE_SECONDS", 0.2)
    with control_group("freezer", f"arraymill-test-{os.getpid()}") as group:
        async with mill_of(arena, workers=1, task_timeout_seconds=0.3) as (mill, engine):
            (frozen,) = worker_pids()
            group.add(frozen)
            group.write("freezer.state", "FROZEN")
            try:
                with pytest.raises(WorkerError, match="could not be killed"):
                    await mill.compute(GRAPHS["sum"], [X])
                assert mill.jobs.running == 1
                (lease,) = arena.leases
                await assert_all_right(mill, 1)
                assert (engine.status.workers, engine.status.fenced) == (1, 1)
                assert lease.is_live
                released = asyncio.Event()
                arena.on_release(released.set)
            finally:
                group.write("freezer.state", "THAWED")
            async with asyncio.timeout(HANG_SECONDS):
                await released.wait()
            assert arena.free == arena.size
            assert (mill.jobs.running, engine.status.fenced) == (0, 0)
