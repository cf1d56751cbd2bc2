"""A worker that misbehaves on order, and tasks that give the orders.

`faulty_main` stands in for `worker.main`: it runs the product's own loop over a pipe and a runner that strike when a
task says so. A task of this module is a `FinishTask` whose operation names what to do and whose output region names a
*cell*: CELL_BYTES of the arena that outlive the worker, where attempts are counted and results are written.

    task = fault_task(Fault.KILL, Point.REPLY, cell=64, times=2)     # kills two workers, then succeeds
    await engine.submit("job", task)
    attempts(memory, 64), result(memory, 64)                         # 3, DONE
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections import deque
from enum import StrEnum
from itertools import repeat
from typing import Final, NoReturn

import numpy as np

from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.messages import Request, decode_order, frame
from arraymill_server.engine.pipe import Pipe
from arraymill_server.engine.processes import Connection
from arraymill_server.engine.worker import WorkerSettings, confine, serve
from arraymill_server.ops.spec import ReduceSpec
from arraymill_server.plan.program import FinishTask, Region, Task

CELL_BYTES: Final = 24
"""A cell: attempts, result and gate, 8 bytes each."""

START_CELL: Final = 0
"""The cell that orders faults at the start of a worker: the number of the fault, then how often it still strikes."""

DONE: Final = 0xD0E
"""The result of a task that got through."""

GARBAGE: Final = 0xBAD
"""What a task has written when it strikes in the middle of its work."""

EXIT_CODE: Final = 3
"""The exit code of Fault.EXIT."""


class Fault(StrEnum):
    """What goes wrong."""

    RAISE = "raise"
    EXIT = "exit"
    SIGNAL = "signal"
    KILL = "kill"
    HANG = "hang"
    """Sleeps, and ignores SIGTERM."""
    SPIN = "spin"
    """Computes in C for ever, and ignores SIGTERM."""
    STOP = "stop"
    OUT_OF_MEMORY = "out-of-memory"


class Point(StrEnum):
    """Where it goes wrong."""

    START = "start"
    """Before the worker says hello."""
    RECEIVE = "receive"
    """Between reading a request and running it."""
    COMPUTE = "compute"
    """Within the task, after half of its output."""
    REPLY = "reply"
    """After half of the answer."""


def fault_task(fault: Fault, point: Point, cell: int, *, times: int = 1) -> FinishTask:
    """Make a task that strikes on its first `times` attempts and then writes DONE into its cell."""
    return _task(f"{fault}@{point}", cell, times)


def write_task(cell: int, value: int, *, seconds: float = 0.0) -> FinishTask:
    """Make a task that writes a value into its cell, after some time."""
    return _task("write", cell, value, seconds)


def leak_task(cell: int, nbytes: int) -> FinishTask:
    """Make a task that takes private memory, never gives it back, and writes DONE."""
    return _task("leak", cell, nbytes)


def gate_task(cell: int) -> FinishTask:
    """Make a task that waits until `open_gate` was called for its cell, then writes DONE."""
    return _task("gate", cell, 0)


def probe_task(offset: int, length: int) -> FinishTask:
    """Make a task that writes what its worker knows of itself, as JSON, into `length` bytes; see `_probe`."""
    return _task("probe", offset, length)


def arm_start(memory: memoryview, fault: Fault, times: int) -> None:
    """Let the next `times` workers strike at their start. Only one may start at a time: the count has no lock."""
    cell = _cell(memory, START_CELL)
    cell[0], cell[1] = list(Fault).index(fault), times


def attempts(memory: memoryview, cell: int) -> int:
    """Return how often workers received the task of a cell."""
    return _cell(memory, cell)[0]


def result(memory: memoryview, cell: int) -> int:
    """Return what the task of a cell has written."""
    return _cell(memory, cell)[1]


def open_gate(memory: memoryview, cell: int) -> None:
    """Let the gate task of a cell, and all later ones, pass."""
    _cell(memory, cell)[2] = 1


def strike(fault: Fault) -> NoReturn:
    """Let it happen, in this process."""
    match fault:
        case Fault.RAISE:
            raise RuntimeError("a fault was ordered")
        case Fault.EXIT:
            os._exit(EXIT_CODE)
        case Fault.SIGNAL:
            signal.raise_signal(signal.SIGSEGV)
        case Fault.KILL:
            signal.raise_signal(signal.SIGKILL)
        case Fault.STOP:
            signal.raise_signal(signal.SIGSTOP)
        case Fault.OUT_OF_MEMORY:
            np.ones(resource.getrlimit(resource.RLIMIT_DATA)[0], np.uint8)
        case Fault.SPIN:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            deque(repeat(None), maxlen=0)  # a loop in C: no signal handler and no other thread gets in
        case Fault.HANG:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


class DoubleRunner:
    """Runs the tasks of this module; in a worker through `faulty_main`, in process with SerialEngine."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._leaks: list[object] = []

    def run(self, task: Task) -> None:
        assert isinstance(task, FinishTask)
        cell = _cell(self._memory, task.out.offset)
        match task.spec.op:
            case "write":
                time.sleep(task.spec.ddof)
                cell[1] = task.count
            case "leak":
                self._leaks.append(np.ones(task.count, np.uint8))
                cell[1] = DONE
            case "gate":
                while not cell[2]:
                    time.sleep(0.001)
                cell[1] = DONE
            case "probe":
                facts = json.dumps(_probe()).encode().ljust(task.count)
                self._memory[task.out.offset : task.out.offset + task.count] = facts
            case _:
                cell[1] = GARBAGE
                fault = _due(self._memory, task, Point.COMPUTE)
                if fault is not None:
                    strike(fault)
                cell[1] = DONE


class FaultyPipe:
    """A worker's pipe that counts attempts and strikes around them."""

    def __init__(self, pipe: Pipe, memory: memoryview) -> None:
        self._pipe = pipe
        self._memory = memory
        self._task: Task | None = None

    def fileno(self) -> int:
        return self._pipe.fileno()

    def close(self) -> None:
        self._pipe.close()

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        payload = self._pipe.recv_bytes(maxlength)
        order = decode_order(payload)
        self._task = order.task if isinstance(order, Request) else None
        if isinstance(self._task, FinishTask) and "@" in self._task.spec.op:
            _cell(self._memory, self._task.out.offset)[0] += 1
        self._strike(Point.RECEIVE)
        return payload

    def take_fd(self) -> int:
        return self._pipe.take_fd()

    def send_bytes(self, buf: bytes) -> None:
        if _due(self._memory, self._task, Point.REPLY) is not None:
            data = frame(buf)
            os.write(self.fileno(), data[: len(data) // 2])
            self._strike(Point.REPLY)
        self._pipe.send_bytes(buf)

    def _strike(self, point: Point) -> None:
        fault = _due(self._memory, self._task, point)
        if fault is not None:
            strike(fault)


def faulty_main(pipe: Connection, raw: RawBytes, settings: WorkerSettings) -> None:
    """Be a worker that runs the tasks of this module; stands in for `worker.main`."""
    confine(settings)
    memory = attach(raw)
    cell = _cell(memory, START_CELL)
    if cell[1]:
        cell[1] -= 1
        strike(list(Fault)[cell[0]])
    serve(FaultyPipe(Pipe(pipe), memory), DoubleRunner(memory), Memory(memory), settings.memory_bytes)


def _task(op: str, offset: int, number: int, seconds: float = 0.0) -> FinishTask:
    return FinishTask(ReduceSpec(op, (), "", "", ddof=seconds), number, (), Region(offset, (), ()))


def _cell(memory: memoryview, offset: int) -> memoryview:
    return memory[offset : offset + CELL_BYTES].cast("Q")


def _due(memory: memoryview, task: Task | None, point: Point) -> Fault | None:
    """Return the fault that the task orders at this point, unless it has struck often enough."""
    if not isinstance(task, FinishTask):
        return None
    fault, _, where = task.spec.op.partition("@")
    if where != point or attempts(memory, task.out.offset) > task.count:
        return None
    return Fault(fault)


def _probe() -> dict[str, object]:
    """What cannot be seen in /proc: the top-level modules, the name of the main module, the environment."""
    return {
        "pid": os.getpid(),
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "main": sys.modules["__main__"].__name__,
        "environ": dict(os.environ),
    }
