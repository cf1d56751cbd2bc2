"""Workers of a real server that misbehave on order: `ordered_main` stands in for `worker.main`.

An order says what goes wrong, and where. The harness leaves orders in named pipes, one for each place; a worker that
comes by takes one, notes it and strikes. Reading one byte of a pipe needs no lock, so each order strikes once, in
whichever worker comes first. The harness and the server need only know the same folder.

    book = OrderBook(folder)                            # in the harness
    book.order(Blow.BUS, Point.COMPUTE, 3)
    ...
    book.strikes()                                      # which worker, when

A job can carry an order as well: an expression with `mark(blow)` strikes every worker that tries a block of it.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from pathlib import Path
from time import monotonic, time
from typing import Final, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.messages import Request, decode_order, frame
from arraymill_server.engine.pipe import Pipe
from arraymill_server.engine.processes import Connection
from arraymill_server.engine.worker import WorkerSettings, confine, serve
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.program import BatchTask, BlockTask, Task
from arraymill_server.testing.faults import EXIT_CODE, Fault, strike

LOG: Final = "workers.log"
"""Name of the file in which workers note when they were ready and when they struck."""

PIECE_BYTES: Final = 8 << 20
"""Private memory that `Blow.EXHAUST` takes at a time."""


class Blow(StrEnum):
    """What goes wrong with a worker."""

    KILL = "SIGKILL"
    SEGV = "SIGSEGV"
    BUS = "SIGBUS"
    ABORT = "SIGABRT"
    EXIT = "exit"
    STOP = "SIGSTOP"
    """Stands still until somebody goes on with it, or kills it."""
    SPIN = "spin"
    """Computes for ever and lets no Python signal handler in."""
    DEAF = "deaf"
    """Likewise, and ignores SIGTERM."""
    EXHAUST = "exhaust"
    """Takes private memory without end."""


class Point(StrEnum):
    """Where it goes wrong."""

    IDLE = "idle"
    """While it waits for a request."""
    RECEIVE = "receive"
    """Between reading a request and running it."""
    COMPUTE = "compute"
    """In the task, of whose output one byte is wrong."""
    REPLY = "reply"
    """After half of the answer."""


DEADLY: Final = (Blow.KILL, Blow.SEGV, Blow.BUS, Blow.ABORT, Blow.EXIT)
"""Blows after which the worker is dead at once."""

HANGING: Final = (Blow.STOP, Blow.SPIN, Blow.DEAF)
"""Blows after which the worker lives and does nothing."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a worker has noted."""

    at: float
    """time.monotonic(), which all processes of a machine share."""
    wall: float
    """time.time()"""
    pid: int
    blow: Blow | None
    """None: it is ready."""
    point: Point | None


def mark(blow: Blow) -> float:
    """Return a number that does nothing to a sum, but orders a blow wherever it stands in an expression."""
    return float(f"{list(Blow).index(blow) + 1}.0625e-307")


class OrderBook:
    """The harness's end. To be closed.

    Args:
        folder: Shared with the server.
    """

    def __init__(self, folder: Path) -> None:
        self._log = (folder / LOG).open("a+")
        self._notes: list[Note] = []
        for point in Point:
            if not (folder / point).exists():
                os.mkfifo(folder / point, 0o600)
        # Open for both: a pipe without a writer is at its end, one without a reader takes nothing.
        self._pipes = {point: os.open(folder / point, os.O_RDWR | os.O_NONBLOCK) for point in Point}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take back what nobody has carried out."""
        for pipe in self._pipes.values():
            os.close(pipe)
        self._pipes.clear()
        self._log.close()

    def order(self, blow: Blow, point: Point, times: int = 1) -> None:
        """Let the next workers that come to a place be struck."""
        os.write(self._pipes[point], bytes([list(Blow).index(blow)]) * times)

    def withdraw(self) -> int:
        """Take back all orders that nobody has carried out; return how many there were."""
        count = 0
        for pipe in self._pipes.values():
            while _read_byte(pipe) is not None:
                count += 1
        return count

    def strikes(self) -> list[Note]:
        """Return what was carried out, in order."""
        return [note for note in self.notes() if note.blow is not None]

    def notes(self) -> list[Note]:
        """Return what workers have noted, in order."""
        self._notes += map(_note, self._log.readlines())
        return self._notes


class Orders:
    """A worker's end.

    Args:
        folder: Of an `OrderBook` that is open.
    """

    def __init__(self, folder: Path) -> None:
        self._log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND)
        self._pipes = {point: os.open(folder / point, os.O_RDONLY | os.O_NONBLOCK) for point in Point}
        self.is_spared = False
        """The task has been tried before: a task that is struck three times is given up, and rightly so. Or the worker
        has not said hello: one that hangs then is a slow start, for which the server waits 30 s."""

    def come_to(self, point: Point) -> None:
        """Carry out an order for this place, if there is one and the task has not been tried before."""
        number = _read_byte(self._pipes[point]) if not self.is_spared else None
        if number is not None:
            self.strike(list(Blow)[number], point)

    def strike(self, blow: Blow, point: Point) -> NoReturn:
        """Note the blow, then let it happen."""
        self.note(f"{blow} {point}")
        _strike(blow)

    def note(self, text: str) -> None:
        """Write a line that no other worker interrupts."""
        os.write(self._log, f"{monotonic()} {time()} {os.getpid()} {text}\n".encode())

    def wait(self, pipe: int) -> None:
        """Return when a pipe can be read; be struck while it cannot."""
        idle = self._pipes[Point.IDLE]
        while True:
            ready = select.select([pipe, idle], [], [])[0]
            if pipe in ready:
                return
            self.come_to(Point.IDLE)


class OrderedPipe:
    """A worker's pipe around which orders strike."""

    def __init__(self, pipe: Pipe, orders: Orders) -> None:
        self._pipe = pipe
        self._orders = orders

    def fileno(self) -> int:
        return self._pipe.fileno()

    def close(self) -> None:
        self._pipe.close()

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        self._orders.wait(self.fileno())
        payload = self._pipe.recv_bytes(maxlength)
        order = decode_order(payload)
        if isinstance(order, Request):
            self._orders.is_spared = order.generation > 1
            self._orders.come_to(Point.RECEIVE)
        return payload

    def take_fd(self) -> int:
        return self._pipe.take_fd()

    def send_bytes(self, buf: bytes) -> None:
        data = frame(buf)
        half = len(data) // 2
        os.write(self.fileno(), data[:half])
        self._orders.come_to(Point.REPLY)
        os.write(self.fileno(), data[half:])
        self._orders.is_spared = False


class OrderedRunner:
    """Runs the product's tasks, and is struck in the middle of one."""

    def __init__(self, space: Memory, orders: Orders) -> None:
        self._space = space
        self._orders = orders
        self._interpreter = Interpreter(space)
        self._programs: dict[bytes, Blow | None] = {}
        """What the programs that were run before order."""

    def run(self, task: Task) -> None:
        block = task.blocks[0] if isinstance(task, BatchTask) else task
        if isinstance(block, BlockTask):
            blow = self._blow_of(block)
            if blow is not None:
                self._orders.strike(blow, Point.COMPUTE)
            first = next((region for sink in block.outputs for region in sink if 0 not in region.shape), None)
            if first is not None:
                self._space.bytes(first.offset, 1)[0] ^= 0xFF
            self._orders.come_to(Point.COMPUTE)
        self._interpreter.run(task)

    def _blow_of(self, task: BlockTask) -> Blow | None:
        digest = task.program.digest
        if digest not in self._programs:
            start = task.program.offset
            text = bytes(self._space.bytes(start, task.program.length))
            marked = (blow for blow in Blow if repr(mark(blow)).encode() in text)
            self._programs[digest] = next(marked, None)
        return self._programs[digest]


def ordered_main(folder: str, pipe: Connection, raw: RawBytes, settings: WorkerSettings) -> None:
    """Be a worker that takes orders until the pipe ends; with its first argument given, a `WorkerMain`."""
    confine(settings)
    orders = Orders(Path(folder))
    orders.note("ready -")
    orders.is_spared = True
    space = Memory(attach(raw))
    serve(OrderedPipe(Pipe(pipe), orders), OrderedRunner(space, orders), space, settings.memory_bytes)


def _read_byte(pipe: int) -> int | None:
    try:
        data = os.read(pipe, 1)
    except BlockingIOError:
        return None
    return data[0] if data else None


def _note(line: str) -> Note:
    at, wall, pid, blow, point = line.split()
    is_ready = blow == "ready"
    return Note(float(at), float(wall), int(pid), None if is_ready else Blow(blow), None if is_ready else Point(point))


def _strike(blow: Blow) -> NoReturn:
    match blow:
        case Blow.EXIT:
            os._exit(EXIT_CODE)
        case Blow.SPIN:
            deque(repeat(None), maxlen=0)  # a loop in C
        case Blow.DEAF:
            strike(Fault.SPIN)
        case Blow.EXHAUST:
            _exhaust()
        case _:
            signal.raise_signal(signal.Signals[blow])
    while True:
        signal.pause()


def _exhaust() -> NoReturn:
    taken: list[NDArray[np.uint8]] = []
    while True:
        taken.append(np.ones(PIECE_BYTES, np.uint8))
