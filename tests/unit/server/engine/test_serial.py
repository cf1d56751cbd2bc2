from __future__ import annotations

import asyncio

from arraymill_server.arena.memory import Memory
from arraymill_server.engine.base import Engine, EngineStatus
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.testing.faults import CELL_BYTES, DoubleRunner, result, write_task


def engine_on(memory: memoryview) -> SerialEngine:
    return SerialEngine(Memory(memory), runner=DoubleRunner(memory))


async def test_the_loop_has_a_turn_between_two_tasks() -> None:
    memory = memoryview(bytearray(4 * CELL_BYTES))
    engine: Engine = engine_on(memory)
    futures = [engine.submit("job", write_task(CELL_BYTES * number, number)) for number in range(1, 4)]
    seen: list[int] = []
    while not all(future.done() for future in futures):
        await asyncio.sleep(0)
        seen.append(sum(result(memory, CELL_BYTES * number) > 0 for number in range(1, 4)))
    assert {1, 2, 3} <= set(seen)


async def test_repr_and_status_show_what_is_going_on() -> None:
    engine = engine_on(memoryview(bytearray(CELL_BYTES)))
    futures = [engine.submit("job", write_task(0, 1)) for _ in range(2)]
    assert repr(engine) == "<SerialEngine: 2 queued>"
    assert engine.status == EngineStatus(workers=1, busy=0, queued=2, restarts=0)
    await asyncio.gather(*futures)
    assert repr(engine) == "<SerialEngine: 0 queued>"


async def test_a_cancelled_task_does_not_stop_the_others() -> None:
    memory = memoryview(bytearray(2 * CELL_BYTES))
    engine = engine_on(memory)
    first, second = (engine.submit("job", write_task(CELL_BYTES * number, 7)) for number in range(2))
    first.cancel()
    await second
    assert (result(memory, 0), result(memory, CELL_BYTES)) == (0, 7)


async def test_close_cancels_the_queue() -> None:
    memory = memoryview(bytearray(CELL_BYTES))
    engine = engine_on(memory)
    future = engine.submit("job", write_task(0, 1))
    await engine.close()
    await asyncio.sleep(0)
    assert future.cancelled()
    assert result(memory, 0) == 0
