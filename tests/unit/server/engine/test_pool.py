from __future__ import annotations

import asyncio
import os
import signal

import pytest
from fake_worker import request_of
from pools import CELLS, WORKER_MEMORY, pool_of, worker_pids

from arraymill_proto.errors import ConnectionFailedError, InternalError, Reason, TooLargeError, WorkerError
from arraymill_server.arena.attach import RawBytes
from arraymill_server.engine.base import Engine, EngineStartError, EngineStatus
from arraymill_server.engine.link import Link
from arraymill_server.engine.pool import MAX_LOSSES, PoolEngine
from arraymill_server.engine.processes import fork_server
from arraymill_server.engine.turns import Entry
from arraymill_server.plan.program import BlockTask, ProgramRef, Region
from arraymill_server.testing.faults import (
    DONE,
    Fault,
    Point,
    arm_start,
    attempts,
    fault_task,
    gate_task,
    open_gate,
    result,
    write_task,
)


def test_a_pool_is_an_engine(raw: RawBytes) -> None:
    engine: Engine = PoolEngine(raw, 1, worker_memory_bytes=WORKER_MEMORY, task_timeout_seconds=1.0)
    assert engine.status == EngineStatus(workers=0, busy=0, queued=0, restarts=0)


async def test_repr_and_status_show_what_is_going_on(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(4, raw, in_flight=1) as engine:
        assert repr(engine) == "<PoolEngine 4 workers: 0 busy, 4 idle | 0 queued>"
        gates = [engine.submit("job", gate_task(cell)) for cell in CELLS[:3]]
        assert repr(engine) == "<PoolEngine 4 workers: 3 busy, 1 idle | 0 queued>"
        more = [engine.submit("job", gate_task(cell)) for cell in CELLS[3:16]]
        assert repr(engine) == "<PoolEngine 4 workers: 4 busy, 0 idle | 12 queued>"
        assert engine.status == EngineStatus(workers=4, busy=4, queued=12, restarts=0)
        for cell in CELLS[:16]:
            open_gate(memory, cell)
        await asyncio.gather(*gates, *more)


async def test_idle_workers_come_first_then_two_in_flight(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw) as engine:
        gates = [engine.submit("job", gate_task(cell)) for cell in CELLS[:2]]
        assert engine.status == EngineStatus(workers=2, busy=2, queued=0, restarts=0)
        gates += [engine.submit("job", gate_task(cell)) for cell in CELLS[2:5]]
        assert engine.status == EngineStatus(workers=2, busy=2, queued=1, restarts=0)
        for cell in CELLS[:5]:
            open_gate(memory, cell)
        assert all(seconds >= 0 for seconds in await asyncio.gather(*gates))
        assert [result(memory, cell) for cell in CELLS[:5]] == [DONE] * 5


async def test_jobs_take_turns(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw, in_flight=1) as engine:
        gate = engine.submit("gate", gate_task(CELLS[0]))
        order: list[str] = []
        futures: list[asyncio.Future[float]] = []
        for job in ["long"] * 6 + ["short"] * 2:
            future = engine.submit(job, write_task(CELLS[1], 1))
            future.add_done_callback(lambda _, job=job: order.append(job))  # type: ignore[misc]  # a default argument
            futures.append(future)
        open_gate(memory, CELLS[0])
        await asyncio.gather(gate, *futures)
        assert order == ["long", "short"] * 2 + ["long"] * 4


async def test_a_cancelled_task_in_the_queue_never_runs(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw, in_flight=1) as engine:
        gate = engine.submit("job", gate_task(CELLS[0]))
        queued = engine.submit("job", write_task(CELLS[1], 7))
        last = engine.submit("job", write_task(CELLS[2], 7))
        queued.cancel()
        open_gate(memory, CELLS[0])
        await asyncio.gather(gate, last)
        assert (result(memory, CELLS[1]), result(memory, CELLS[2])) == (0, 7)


async def test_wait_idle_drops_the_queue_and_waits_for_the_workers(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        running = [engine.submit("job", gate_task(cell)) for cell in CELLS[:2]]
        queued = [engine.submit("job", gate_task(cell)) for cell in CELLS[2:4]]
        other = engine.submit("other", write_task(CELLS[4], 7))
        running[0].cancel()
        idle = asyncio.create_task(engine.wait_idle("job"))
        await asyncio.sleep(0)
        assert all(future.cancelled() for future in queued)
        assert not idle.done()
        open_gate(memory, CELLS[0])
        open_gate(memory, CELLS[1])
        await idle
        assert [result(memory, cell) for cell in CELLS[:4]] == [DONE, DONE, 0, 0]
        await other
        await engine.wait_idle("job")
        await engine.wait_idle("never seen")


async def test_wait_idle_does_not_run_lost_tasks_again(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        future = engine.submit("job", fault_task(Fault.STOP, Point.COMPUTE, CELLS[0]))
        idle = asyncio.create_task(engine.wait_idle("job"))
        await asyncio.sleep(0)
        for pid in worker_pids():
            os.kill(pid, signal.SIGKILL)
        await idle
        assert future.cancelled()
        assert attempts(memory, CELLS[0]) <= 1
        assert engine.status.queued == 0


async def test_a_cancelled_wait_leaves_no_trace(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        gate = engine.submit("job", gate_task(CELLS[0]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.wait_idle("job"), 0.01)
        open_gate(memory, CELLS[0])
        await gate
        await engine.submit("job", write_task(CELLS[1], 7))


async def test_the_poisonous_task_fails_with_its_operation_and_the_signals(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw) as engine:
        poison = fault_task(Fault.SIGNAL, Point.COMPUTE, CELLS[0], times=100)
        with pytest.raises(WorkerError) as caught:
            await engine.submit("job", poison)
        await engine.submit("job", write_task(CELLS[1], 7))
    assert str(caught.value) == (
        "signal@compute: 3 workers did not survive a block of the job, so it is not tried again; how they ended: "
        "3 × was ended by SIGSEGV. A crash of native code leaves its traceback in the server's log"
    )
    assert caught.value.details == {"operation": "signal@compute", "attempts": "3"}
    assert attempts(memory, CELLS[0]) == 3
    assert engine.status.restarts == 3


async def test_being_killed_from_outside_is_no_strike_but_has_an_end(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw) as engine:
        await engine.submit("job", fault_task(Fault.KILL, Point.COMPUTE, CELLS[0], times=MAX_LOSSES - 1))
        assert attempts(memory, CELLS[0]) == MAX_LOSSES
        with pytest.raises(WorkerError, match=f"{MAX_LOSSES} × was ended by SIGKILL. SIGKILL comes from outside"):
            await engine.submit("job", fault_task(Fault.KILL, Point.COMPUTE, CELLS[1], times=MAX_LOSSES))


async def test_the_task_behind_a_killer_is_not_blamed(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        killers = [engine.submit("bad", fault_task(Fault.EXIT, Point.COMPUTE, cell, times=9)) for cell in CELLS[:4]]
        good = engine.submit("good", write_task(CELLS[9], 7))
        failures = await asyncio.gather(*killers, return_exceptions=True)
        await good
    assert [type(failure) for failure in failures] == [WorkerError] * 4
    assert [attempts(memory, cell) for cell in CELLS[:4]] == [3] * 4
    assert result(memory, CELLS[9]) == 7


async def test_each_attempt_has_a_generation_of_its_own(raw: RawBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = Link.send

    def noting_send(link: Link, entry: Entry) -> None:
        request = request_of(entry.payload)
        assert request.generation == entry.generation
        sent.append(request.generation)
        send(link, entry)

    monkeypatch.setattr(Link, "send", noting_send)
    async with pool_of(1, raw) as engine:
        await engine.submit("job", fault_task(Fault.KILL, Point.REPLY, CELLS[0], times=2))
    assert sent == [1, 2, 3]


async def test_a_hung_task_fails_with_the_time_it_took(raw: RawBytes) -> None:
    async with pool_of(1, raw, task_timeout_seconds=0.05) as engine:
        with pytest.raises(WorkerError, match=r"ran longer than 0\.05 s.*The time limit of a task is an option"):
            await engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, CELLS[0], times=9))
        await engine.submit("job", write_task(CELLS[1], 7))


async def test_a_defect_fails_the_task_at_once(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        with pytest.raises(InternalError, match="error id") as caught:
            await engine.submit("job", fault_task(Fault.RAISE, Point.COMPUTE, CELLS[0], times=9))
    assert "a fault was ordered" not in str(caught.value)
    assert attempts(memory, CELLS[0]) == 1


async def test_a_request_that_is_too_long_is_refused(raw: RawBytes) -> None:
    region = Region(1 << 40, (1 << 20,) * 32, (1 << 40,) * 32)
    task = BlockTask(ProgramRef(b"", 0, 0), (), (), (region,) * 4096, ())
    async with pool_of(1, raw) as engine:
        with pytest.raises(TooLargeError, match="a message holds 1,048,576; split the expression"):
            await engine.submit("job", task)
        assert engine.status.queued == 0


async def test_long_requests_are_sent_while_the_worker_is_busy(raw: RawBytes, memory: memoryview) -> None:
    region = Region(1 << 40, (1 << 20,) * 8, (1 << 40,) * 8)
    long = BlockTask(ProgramRef(b"", 0, 0), (), (), (region,) * 4096, ())
    async with pool_of(1, raw) as engine:
        gate = engine.submit("job", gate_task(CELLS[0]))
        behind = engine.submit("job", long)
        open_gate(memory, CELLS[0])
        await gate
        with pytest.raises(InternalError):  # the double runs no blocks: that it says so is the answer
            await behind


async def test_the_end_of_the_fork_server_costs_no_task(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw) as engine:
        gates = [engine.submit("job", gate_task(cell)) for cell in CELLS[:4]]
        for pid in _pids_of("forkserver"):
            os.kill(pid, signal.SIGKILL)
        for cell in CELLS[:4]:
            open_gate(memory, cell)
        await asyncio.gather(*gates)
        await engine.submit("job", write_task(CELLS[5], 7))


async def test_queued_tasks_fail_when_no_worker_comes(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        arm_start(memory, Fault.EXIT, 3)
        with pytest.raises(EngineStartError, match="exited with code 3"):
            await engine.submit("job", fault_task(Fault.EXIT, Point.COMPUTE, CELLS[0]))
        await engine.submit("job", write_task(CELLS[1], 7))
    assert result(memory, CELLS[1]) == 7


async def test_close_lets_running_tasks_end_and_cancels_the_queue(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw, in_flight=1) as engine:
        running = engine.submit("job", gate_task(CELLS[0]))
        queued = engine.submit("job", gate_task(CELLS[1]))
        close = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        open_gate(memory, CELLS[0])
        await running
        await close
    assert queued.cancelled()
    assert repr(engine) == "<PoolEngine 0 workers: 0 busy, 0 idle | 0 queued>"
    with pytest.raises(ConnectionFailedError) as caught:
        engine.submit("job", write_task(CELLS[0], 7))
    assert caught.value.reason is Reason.SHUTTING_DOWN
    await engine.close()


async def test_close_does_not_wait_for_the_hung(raw: RawBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill_server.engine.pool.CLOSE_SECONDS", 0.05)
    async with pool_of(1, raw) as engine:
        hung = [engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, cell)) for cell in CELLS[:2]]
        idle = asyncio.create_task(engine.wait_idle("job"))
        await asyncio.sleep(0)
        await engine.close()
        await idle
    assert all(future.cancelled() for future in hung)


async def test_two_pools_live_side_by_side(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as one:
        async with pool_of(1, raw) as other:
            await asyncio.gather(
                one.submit("job", write_task(CELLS[0], 1)), other.submit("job", write_task(CELLS[1], 2))
            )
        await one.submit("job", fault_task(Fault.EXIT, Point.REPLY, CELLS[2]))
    assert [result(memory, cell) for cell in CELLS[:3]] == [1, 2, DONE]


def test_the_pool_runs_on_uvloop(raw: RawBytes, memory: memoryview) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scene() -> None:
        async with pool_of(2, raw, task_timeout_seconds=0.3) as engine:
            killed = fault_task(Fault.KILL, Point.REPLY, CELLS[0])
            hung = fault_task(Fault.HANG, Point.COMPUTE, CELLS[1])
            await asyncio.gather(engine.submit("job", killed), engine.submit("job", hung))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
    assert [result(memory, cell) for cell in CELLS[:2]] == [DONE, DONE]


def _pids_of(word: str) -> list[int]:
    """Return the helpers of the fork server whose command line has a word."""
    return [pid for pid in fork_server.pids() if word in _command(pid)]


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123  short
        return file.read()
