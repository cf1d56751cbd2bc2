from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic, time
from types import SimpleNamespace
from typing import Any, Final, NoReturn
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
import pytest_asyncio
from chaos.site import grown
from patience import until
from plans import floats, graph_of, operation, plan_of
from pools import pool_of, shared_bytes
from structlog.testing import capture_logs

from arraymill_proto.graph import Constant
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.messages import Request, encode, frame
from arraymill_server.engine.pipe import Pipe
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.engine.processes import Connection, connection
from arraymill_server.plan.program import BlockTask, ProgramRef, Region
from arraymill_server.testing import orders as module
from arraymill_server.testing import simulate
from arraymill_server.testing.faults import EXIT_CODE, write_task
from arraymill_server.testing.orders import (
    DEADLY,
    HANGING,
    Blow,
    OrderBook,
    OrderedPipe,
    OrderedRunner,
    Orders,
    Point,
    mark,
    ordered_main,
)
from arraymill_server.testing.simulate import Simulation


class StruckError(Exception):
    """A blow, where there is no worker that could die of it."""


def raise_struck(blow: Blow) -> NoReturn:
    raise StruckError(blow)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[OrderBook]:
    with OrderBook(tmp_path) as book:
        yield book


@pytest.fixture
def orders(book: OrderBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """A worker's end in this process; a worker keeps it for life."""
    monkeypatch.setattr(module, "_strike", raise_struck)
    return Orders(tmp_path)


@pytest.fixture
def pipes(orders: Orders) -> Iterator[tuple[Connection, OrderedPipe]]:
    """The server's end of a pipe, and a worker's."""
    ours, theirs = (connection(end.detach()) for end in socket.socketpair())
    worker = OrderedPipe(Pipe(theirs), orders)
    yield ours, worker
    ours.close()
    worker.close()


# ------------------------------------------------------------------ a book, and who takes orders from it


@pytest.mark.parametrize("point", Point)
@pytest.mark.parametrize("blow", [Blow.KILL, Blow.EXHAUST])
def test_an_order_strikes_once_and_at_its_place_only(book: OrderBook, orders: Orders, blow: Blow, point: Point) -> None:
    book.order(blow, point)
    for other in set(Point) - {point}:
        orders.come_to(other)
    with pytest.raises(StruckError, match=blow):
        orders.come_to(point)
    orders.come_to(point)


def test_a_strike_is_noted_with_its_time_and_its_worker(book: OrderBook, orders: Orders) -> None:
    begin, wall = monotonic(), time()
    orders.note("ready -")
    book.order(Blow.BUS, Point.REPLY, times=2)
    for _ in range(2):
        with pytest.raises(StruckError):
            orders.come_to(Point.REPLY)
    ready, *strikes = book.notes()
    assert (ready.blow, ready.point) == (None, None)
    assert [(note.pid, note.blow, note.point) for note in strikes] == [(os.getpid(), Blow.BUS, Point.REPLY)] * 2
    assert begin <= ready.at <= strikes[0].at <= strikes[1].at <= monotonic()
    assert wall <= ready.wall <= time()
    assert book.strikes() == strikes


def test_what_is_withdrawn_strikes_nobody(book: OrderBook, orders: Orders) -> None:
    book.order(Blow.KILL, Point.COMPUTE, times=2)
    book.order(Blow.STOP, Point.IDLE)
    assert book.withdraw() == 3
    assert book.withdraw() == 0
    for point in Point:
        orders.come_to(point)
    assert book.strikes() == []


def test_a_book_reads_what_is_noted_while_it_is_open(book: OrderBook, orders: Orders, tmp_path: Path) -> None:
    orders.note("ready -")
    with OrderBook(tmp_path) as second:
        orders.note("ready -")
        assert (len(book.notes()), len(second.notes())) == (2, 1)


def test_a_worker_that_waits_is_struck(book: OrderBook, orders: Orders) -> None:
    ours, theirs = os.pipe()
    try:
        os.write(theirs, b"!")
        book.order(Blow.KILL, Point.IDLE)
        orders.wait(ours)  # it has something to do
        os.read(ours, 1)
        with pytest.raises(StruckError, match="SIGKILL"):
            orders.wait(ours)
    finally:
        os.close(ours)
        os.close(theirs)


# ------------------------------------------------------------------ around the pipe


def test_a_worker_is_not_struck_before_it_has_said_hello(
    book: OrderBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bytes] = []

    def serve(pipe: OrderedPipe, *_: object) -> None:
        with closing(pipe):
            for word in (b"hello", b"an answer"):
                pipe.send_bytes(word)
                said.append(word)

    monkeypatch.setattr(module, "_strike", raise_struck)
    monkeypatch.setattr(module, "confine", Mock())
    monkeypatch.setattr(module, "serve", serve)
    book.order(Blow.STOP, Point.REPLY)
    ours, theirs = (connection(end.detach()) for end in socket.socketpair())
    settings: Any = SimpleNamespace(memory_bytes=0)
    with closing(ours), closing(theirs), pytest.raises(StruckError, match="SIGSTOP"):
        ordered_main(str(tmp_path), theirs, shared_bytes(), settings)
    assert said == [b"hello"]


def request(generation: int) -> bytes:
    return encode(Request(7, generation, write_task(0, 1)))


def test_a_request_is_read_before_its_worker_is_struck(book: OrderBook, pipes: tuple[Connection, OrderedPipe]) -> None:
    server, worker = pipes
    server.send_bytes(request(1))
    book.order(Blow.SEGV, Point.RECEIVE)
    with pytest.raises(StruckError, match="SIGSEGV"):
        worker.recv_bytes()
    server.send_bytes(request(1))
    assert worker.recv_bytes() == request(1), "the first was taken"


def test_a_worker_is_struck_after_half_of_its_answer(book: OrderBook, pipes: tuple[Connection, OrderedPipe]) -> None:
    server, worker = pipes
    worker.send_bytes(b"an answer")
    assert server.recv_bytes() == b"an answer"
    book.order(Blow.ABORT, Point.REPLY)
    with pytest.raises(StruckError, match="SIGABRT"):
        worker.send_bytes(b"an answer")
    whole = frame(b"an answer")
    assert os.read(server.fileno(), 100) == whole[: len(whole) // 2]


def test_who_tries_a_task_again_is_not_struck(book: OrderBook, pipes: tuple[Connection, OrderedPipe]) -> None:
    """Three strikes would end a job, and rightly so: nothing could be told of the server."""
    server, worker = pipes
    server.send_bytes(request(generation=2))
    book.order(Blow.KILL, Point.RECEIVE)
    book.order(Blow.KILL, Point.REPLY)
    worker.recv_bytes()
    worker.send_bytes(b"an answer")
    with pytest.raises(StruckError):
        worker.send_bytes(b"an answer to somebody else")


# ------------------------------------------------------------------ around the task

X: Final = np.arange(12.0).reshape(4, 3)


@pytest.fixture
def ordered(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let simulations be run by a worker that takes orders."""

    def runner(space: Memory, *, piece_bytes: int) -> OrderedRunner:
        return OrderedRunner(space, orders)

    monkeypatch.setattr(simulate, "Interpreter", runner)


def plus_one(number: float = 1.0) -> Simulation:
    """A job of two blocks that adds a number."""
    graph = graph_of(floats(4, 3), Constant(number), operation("add", 0, 1))
    return Simulation(plan_of(graph, block_elements=6), [X], is_watched=False)


def test_a_worker_is_struck_in_a_task_of_whose_output_a_byte_is_wrong(book: OrderBook, orders: Orders) -> None:
    outputs = (Region(8, (0, 3), (24, 8)),), (Region(16, (1, 3), (24, 8)),)
    task = BlockTask(ProgramRef(b"digest", 0, 8), (0, 0), (1, 3), (), outputs)
    memory = memoryview(bytearray(64))
    book.order(Blow.KILL, Point.COMPUTE)
    with pytest.raises(StruckError):
        OrderedRunner(Memory(memory), orders).run(task)
    assert {place: byte for place, byte in enumerate(memory) if byte} == {16: 0xFF}, "the first output has no bytes"


@pytest.mark.usefixtures("ordered")
def test_the_byte_is_right_in_the_end() -> None:
    assert np.array_equal(plus_one().run()[0], X + 1)


@pytest.mark.usefixtures("ordered")
@pytest.mark.parametrize("blow", Blow)
def test_a_marked_job_strikes_whoever_runs_it(book: OrderBook, blow: Blow) -> None:
    for _ in range(2):
        with pytest.raises(StruckError, match=blow):
            plus_one(mark(blow)).run()
    assert [(note.blow, note.point) for note in book.strikes()] == [(blow, Point.COMPUTE)] * 2


# ------------------------------------------------------------------ marks


def test_a_mark_changes_no_sum() -> None:
    x = np.arange(1.0, 100.0)
    for blow in Blow:
        assert np.array_equal(x + mark(blow), x)


def test_marks_differ_and_none_is_in_another() -> None:
    texts = [repr(mark(blow)) for blow in Blow]
    assert all(a == b or a not in b for a in texts for b in texts)


# ------------------------------------------------------------------ true workers

CAUSES: Final = {
    Blow.KILL: "was ended by SIGKILL",
    Blow.SEGV: "was ended by SIGSEGV",
    Blow.BUS: "was ended by SIGBUS",
    Blow.ABORT: "was ended by SIGABRT",
    Blow.EXIT: f"exited with code {EXIT_CODE}",
}

HANGS_AS: Final = {
    Blow.STOP: (psutil.STATUS_STOPPED, False),
    Blow.SPIN: (psutil.STATUS_RUNNING, False),
    Blow.DEAF: (psutil.STATUS_RUNNING, True),
}
"""The state of a worker that hangs, and whether it ignores SIGTERM."""


@pytest_asyncio.fixture
async def pool(book: OrderBook, tmp_path: Path) -> AsyncIterator[PoolEngine]:
    """One worker that takes orders; whenever it dies, another one takes its place."""
    async with pool_of(1, shared_bytes(), main=partial(ordered_main, str(tmp_path))) as pool:
        yield pool


def ready_workers(book: OrderBook) -> list[int]:
    return [note.pid for note in book.notes() if note.blow is None]


@pytest.mark.usefixtures("pool")
async def test_deadly_blows(book: OrderBook) -> None:
    with capture_logs() as logs:
        for blow in DEADLY:
            is_replaced = grown(lambda: len(ready_workers(book)))
            book.order(blow, Point.IDLE)
            await until(is_replaced)
    assert [entry["cause"] for entry in logs if entry["event"] == "worker_died"] == [CAUSES[blow] for blow in DEADLY]
    assert [(note.blow, note.pid) for note in book.strikes()] == list(zip(DEADLY, ready_workers(book), strict=False))


@pytest.mark.usefixtures("pool")
async def test_hanging_blows(book: OrderBook) -> None:
    for blow in HANGING:
        has_struck, is_replaced = grown(lambda: len(book.strikes())), grown(lambda: len(ready_workers(book)))
        book.order(blow, Point.IDLE)
        await until(has_struck)
        worker = psutil.Process(book.strikes()[-1].pid)
        await until(partial(hangs, worker, *HANGS_AS[blow]))
        worker.kill()
        await until(is_replaced)


def hangs(worker: psutil.Process, state: str, is_deaf: bool) -> bool:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    return worker.status() == state and bool(ignored >> (signal.SIGTERM - 1) & 1) == is_deaf
