"""The shell around a machine: however a job ends, nobody touches its memory any more when it says so."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from plans import floats, graph_of, operation, plan_of

from arraymill_proto.errors import ComputationError, ConnectionFailedError, FrameError, Reason
from arraymill_server.arena.arena import Arena
from arraymill_server.jobs import run as run_module
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.jobs.run import Hands, JobRun, Times
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import Wanted
from arraymill_server.plan.workspace import JobLayout
from arraymill_server.testing.exchange import MemoryExchange
from arraymill_server.testing.held_engine import HeldEngine

X = np.arange(12.0)
BLOCKS = 4


class BrokenExchange(MemoryExchange):
    """An exchange of which one method fails; or, "mute", brings nothing."""

    def __init__(self, broken: str) -> None:
        super().__init__([X])
        self.broken = broken
        self.wanted = 0
        self.tokens: list[int] = []
        """Of what was wanted, and is not there."""

    def start(self, started: Started, peer: Peer) -> None:
        super().start(started, peer)
        if self.broken == "start":
            peer.fail(FrameError("start"))

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        self.wanted += 1
        self._break("want")
        if self.broken == "mute":
            self.tokens.append(token)
        else:
            super().want(wanted, target, token, address)

    def send(self, outgoing: Outgoing, token: int) -> None:
        self._break("send")
        super().send(outgoing, token)

    def progress(self, blocks_done: int) -> None:
        self._break("progress")
        super().progress(blocks_done)

    def _break(self, method: str) -> None:
        if self.broken == method:
            raise FrameError(method)


@dataclass
class Running:
    """A job on its way: x and its square root, in four blocks."""

    engine: HeldEngine
    exchange: MemoryExchange
    run: JobRun
    task: asyncio.Task[None]

    async def settle(self) -> None:
        """Let everything happen that can happen."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def to_the_end(self) -> None:
        while not self.task.done():
            if self.engine.held:
                self.engine.end_one()
            await asyncio.sleep(0)


def begin(exchange: MemoryExchange | None = None, *, workers: int = 1) -> Running:
    """Start a job whose tasks a test ends."""
    plan = plan_of(graph_of(floats(12), operation("sqrt", 0)), block_elements=3)
    space = Arena((ctypes.c_ubyte * (1 << 16))()).space
    engine = HeldEngine(space, workers)
    chosen = exchange or MemoryExchange([X])
    machine = JobMachine(plan, JobLayout(plan, BLOCKS), base=0)
    run = JobRun("job", machine, Hands(engine, Interpreter(space), space), chosen, Times())
    chosen.start(Started("job", 1 << 16, BLOCKS, plan.outputs, is_kept=False), run)
    return Running(engine, chosen, run, asyncio.ensure_future(run.run()))


@pytest_asyncio.fixture
async def running() -> AsyncGenerator[Running]:
    job = begin()
    await job.settle()
    yield job
    job.task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await job.to_the_end()
        await job.task


async def test_a_job_runs_to_its_end(running: Running) -> None:
    assert repr(running.run) == "<JobRun job: <JobMachine pass 1 of 1, 0 blocks done>>"
    await running.to_the_end()
    running.task.result()
    np.testing.assert_array_equal(running.exchange.results[0], np.sqrt(X))
    assert running.exchange.is_closed
    assert running.run.blocks_done == BLOCKS
    assert running.exchange.blocks_told[-1] == BLOCKS
    assert running.exchange.blocks_told == sorted(running.exchange.blocks_told)


async def test_an_error_of_a_task_ends_the_job_when_its_other_tasks_have_ended() -> None:
    job = begin(workers=2)
    await job.settle()
    assert len(job.engine.held) == 2
    job.engine.end_one(ComputationError("no"))
    await job.settle()
    assert job.exchange.is_closed
    assert not job.task.done(), "workers still hold tasks of the job"
    await job.to_the_end()
    with pytest.raises(ComputationError, match="no"):
        await job.task
    assert repr(job.engine) == "<HeldEngine 0 held, 0 queued>"


async def test_a_cancelled_job_ends_when_its_tasks_have_ended(running: Running) -> None:
    for _ in range(3):
        running.task.cancel()
        await running.settle()
        assert running.exchange.is_closed
        assert not running.task.done(), "a worker still holds a task of the job"
    assert repr(running.engine) == "<HeldEngine 1 held, 0 queued>"
    running.engine.end_one()
    with pytest.raises(asyncio.CancelledError):
        await running.task


async def test_a_failed_job_that_is_cancelled_while_it_cleans_up_cleans_up(running: Running) -> None:
    running.run.fail(FrameError("first"))
    running.run.fail(FrameError("second"))
    for _ in range(2):
        await running.settle()
        assert not running.task.done(), "a worker still holds a task of the job"
        running.task.cancel()
    await running.settle()
    assert not running.task.done()
    running.engine.end_one()
    with pytest.raises(asyncio.CancelledError) as caught:
        await running.task
    assert str(caught.value.__context__) == "first"


@pytest.mark.parametrize("broken", ["want", "send", "progress"])
async def test_an_exchange_that_fails_ends_the_job(broken: str) -> None:
    job = begin(BrokenExchange(broken))
    await job.to_the_end()
    with pytest.raises(FrameError, match=broken):
        await job.task


async def test_a_job_whose_exchange_fails_at_its_start_asks_for_nothing() -> None:
    exchange = BrokenExchange("start")
    job = begin(exchange)
    with pytest.raises(FrameError, match="start"):
        await job.task
    assert (exchange.wanted, job.engine.submitted, exchange.is_closed) == (0, 0, True)


async def test_an_engine_that_closes_ends_the_job(running: Running) -> None:
    await running.engine.close()
    with pytest.raises(ConnectionFailedError) as caught:
        await running.task
    assert caught.value.reason is Reason.SHUTTING_DOWN


async def test_an_engine_that_is_closed_takes_no_task() -> None:
    job = begin()
    await job.engine.close()
    with pytest.raises(ConnectionFailedError):
        await job.task


async def test_what_comes_after_the_end_is_dropped(running: Running) -> None:
    await running.to_the_end()
    running.run.done(1)
    running.run.fail(FrameError("late"))
    running.task.result()


async def turns_of(job: Running) -> int:
    """Run a job to its end; return the turns of the loop that it took."""
    turns = 0
    while not job.task.done():
        turns += 1
        if job.engine.held:
            job.engine.end_one()
        await asyncio.sleep(0)
    job.task.result()
    np.testing.assert_array_equal(job.exchange.results[0], np.sqrt(X))
    return turns


async def test_a_job_with_much_to_do_leaves_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "TURN_SECONDS", 60.0)
    at_once = await turns_of(begin())
    monkeypatch.setattr(run_module, "TURN_SECONDS", -1.0)
    assert await turns_of(begin()) > at_once


async def test_a_job_that_ends_between_its_turns_does_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "TURN_SECONDS", -1.0)
    exchange = BrokenExchange("")
    job = begin(exchange)
    await asyncio.sleep(0)
    assert exchange.wanted < BLOCKS, "it has not asked for all yet"
    wanted = exchange.wanted
    job.run.fail(FrameError("gone"))
    await job.settle()
    assert exchange.wanted == wanted
    with pytest.raises(FrameError, match="gone"):
        await job.task


async def test_what_is_done_between_its_turns_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a job to which much comes would take a turn for each of it, and then several at once to the end."""
    monkeypatch.setattr(run_module, "TURN_SECONDS", -1.0)
    exchange = BrokenExchange("mute")
    job = begin(exchange)
    try:
        for _ in range(4 * BLOCKS):
            await asyncio.sleep(0)
            wanted = exchange.wanted
            while exchange.tokens:
                job.run.done(exchange.tokens.pop())
            assert exchange.wanted == wanted, "its turn is over"
        assert exchange.wanted == BLOCKS
    finally:
        job.run.fail(FrameError("enough"))
        await job.to_the_end()
    with pytest.raises(FrameError, match="enough"):
        await job.task
