from __future__ import annotations

import threading
import tracemalloc

import pytest

from arraymill_server.plan.program import BlockTask, ProgramRef
from arraymill_server.testing.faults import (
    CELL_BYTES,
    DONE,
    GARBAGE,
    DoubleRunner,
    Fault,
    Point,
    fault_task,
    gate_task,
    leak_task,
    open_gate,
    result,
    write_task,
)


@pytest.fixture
def memory() -> memoryview:
    return memoryview(bytearray(4 * CELL_BYTES))


def test_a_write_task_writes_its_cell_only(memory: memoryview) -> None:
    DoubleRunner(memory).run(write_task(CELL_BYTES, 7))
    assert [result(memory, CELL_BYTES * number) for number in range(3)] == [0, 7, 0]


def test_a_leak_task_keeps_what_it_takes(memory: memoryview) -> None:
    runner = DoubleRunner(memory)
    tracemalloc.start()
    try:
        for _ in range(2):
            runner.run(leak_task(0, 16 << 20))
        assert tracemalloc.get_traced_memory()[0] >= 32 << 20
    finally:
        tracemalloc.stop()
    assert result(memory, 0) == DONE


def test_a_gate_task_waits_for_its_gate(memory: memoryview) -> None:
    timer = threading.Timer(0.01, open_gate, (memory, 0))
    timer.start()
    DoubleRunner(memory).run(gate_task(0))
    assert result(memory, 0) == DONE
    timer.join()


def test_a_fault_leaves_garbage_and_only_strikes_at_its_point(memory: memoryview) -> None:
    runner = DoubleRunner(memory)
    runner.run(fault_task(Fault.RAISE, Point.REPLY, 0))
    assert result(memory, 0) == DONE
    with pytest.raises(RuntimeError, match="ordered"):
        runner.run(fault_task(Fault.RAISE, Point.COMPUTE, 0))
    assert result(memory, 0) == GARBAGE


def test_tasks_of_the_product_are_a_defect(memory: memoryview) -> None:
    with pytest.raises(AssertionError):
        DoubleRunner(memory).run(BlockTask(ProgramRef(b"", 0, 0), (), (), (), ()))
