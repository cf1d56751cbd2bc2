"""The fault table: what goes wrong × where × does the pool still work afterwards; and a load under fire."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest
from pools import pool_of, shared_bytes, worker_pids
from structlog.testing import capture_logs

from arraymill_proto.errors import ArraymillError, InternalError, TooLargeError, WorkerError
from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.engine.pool import MAX_LOSSES, PoolEngine
from arraymill_server.testing.faults import (
    CELL_BYTES,
    DONE,
    GARBAGE,
    Fault,
    Point,
    arm_start,
    attempts,
    fault_task,
    result,
    write_task,
)

CELL = 64
OTHERS = [CELL + CELL_BYTES * number for number in range(1, 9)]
STRIKES = [(fault, point) for fault in Fault for point in Point if point is not Point.START]

HUNG = "ran longer than 0.3 s"
CAUSES = {
    Fault.RAISE: "exited with code 1",
    Fault.EXIT: "exited with code 3",
    Fault.SIGNAL: "was ended by SIGSEGV",
    Fault.KILL: "was ended by SIGKILL",
    Fault.HANG: HUNG,
    Fault.SPIN: HUNG,
    Fault.STOP: HUNG,
    Fault.OUT_OF_MEMORY: "exited with code 1",
}
"""What the server says of a worker that died of a fault."""

ERRORS: dict[Fault, type[ArraymillError]] = {Fault.RAISE: InternalError, Fault.OUT_OF_MEMORY: TooLargeError}
"""Faults that a worker survives when they strike within a task: the task fails at once."""


def survives(fault: Fault, point: Point) -> bool:
    return point is Point.COMPUTE and fault in ERRORS


@pytest.fixture
def raw() -> RawBytes:
    return shared_bytes()


@pytest.fixture
def memory(raw: RawBytes) -> memoryview:
    return attach(raw)


async def still_works(engine: PoolEngine, memory: memoryview) -> None:
    """Run a task of another job on every worker, twice."""
    await asyncio.gather(*(engine.submit("other", write_task(cell, cell)) for cell in OTHERS))
    assert [result(memory, cell) for cell in OTHERS] == OTHERS
    assert engine.status.queued == engine.status.busy == 0


@pytest.mark.parametrize(("fault", "point"), STRIKES)
async def test_a_fault_costs_one_attempt(raw: RawBytes, memory: memoryview, fault: Fault, point: Point) -> None:
    is_lost = not survives(fault, point)
    async with pool_of(2, raw, task_timeout_seconds=0.3) as engine:
        future = engine.submit("job", fault_task(fault, point, CELL))
        if is_lost:
            await future
        else:
            with pytest.raises(ERRORS[fault]):
                await future
        assert attempts(memory, CELL) == (2 if is_lost else 1)
        assert result(memory, CELL) == (DONE if is_lost else GARBAGE)
        assert engine.status.restarts == (1 if is_lost else 0)
        await still_works(engine, memory)


@pytest.mark.parametrize("fault", Fault)
async def test_a_poisonous_task_fails_its_job_only(raw: RawBytes, memory: memoryview, fault: Fault) -> None:
    point = Point.RECEIVE if survives(fault, Point.COMPUTE) else Point.COMPUTE
    async with pool_of(2, raw, task_timeout_seconds=0.3) as engine:
        poison = engine.submit("job", fault_task(fault, point, CELL, times=100))
        with pytest.raises(WorkerError) as caught:
            await poison
        deaths = MAX_LOSSES if fault is Fault.KILL else 3
        assert f"{deaths} × {CAUSES[fault]}" in str(caught.value)
        assert str(caught.value).startswith(f"{fault}@{point}: {deaths} workers")
        assert attempts(memory, CELL) == deaths
        await still_works(engine, memory)


@pytest.mark.parametrize("fault", Fault)
async def test_a_replacement_that_fails_at_its_start(raw: RawBytes, memory: memoryview, fault: Fault) -> None:
    async with pool_of(1, raw, start_timeout_seconds=1.0) as engine:
        arm_start(memory, fault, 2)
        await engine.submit("job", fault_task(Fault.KILL, Point.RECEIVE, CELL))
        assert (attempts(memory, CELL), result(memory, CELL)) == (2, DONE)
        await still_works(engine, memory)


async def test_workers_are_killed_at_random_under_load(raw: RawBytes, memory: memoryview) -> None:
    tasks, kills = 500, 20
    chance = random.Random(20)
    cells = [CELL_BYTES * number for number in range(1, tasks + 1)]
    answered = asyncio.Semaphore(0)
    async with pool_of(2, raw) as engine:
        with capture_logs() as logs:
            futures = [engine.submit(f"job {cell % 7}", write_task(cell, cell, seconds=0.001)) for cell in cells]
            for future in futures:
                future.add_done_callback(lambda _: answered.release())
            for _ in range(kills):
                for _ in range(tasks // (kills + 1)):
                    await answered.acquire()
                os.kill(chance.choice(worker_pids()), signal.SIGKILL)
            await asyncio.gather(*futures)
            await still_works(engine, memory)
        assert [result(memory, cell) for cell in cells] == cells
    deaths = [log for log in logs if log["event"] == "worker_died"]
    assert kills // 2 <= len(deaths) <= kills, "a worker can be hit again while it ends, but not each time"
