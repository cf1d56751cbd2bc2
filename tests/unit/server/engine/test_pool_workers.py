"""The pool's dealings with its workers: who gets what, for how long, and how they are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pools import CELLS, WORKER_MEMORY, Undead, pool_of, worker_pids
from structlog.testing import capture_logs

from arraymill_proto.errors import WorkerError
from arraymill_server.arena.attach import RawBytes
from arraymill_server.engine import cost
from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.link import Link
from arraymill_server.engine.turns import Entry
from arraymill_server.testing.faults import (
    DONE,
    Fault,
    Point,
    arm_start,
    attempts,
    fault_task,
    gate_task,
    leak_task,
    open_gate,
    result,
    write_task,
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, int]]:
    """The seat, the job and the number of tasks before it, of everything that is sent to a worker."""
    sent: list[tuple[int, str, int]] = []
    send = Link.send

    def noting_send(link: Link, entry: Entry) -> None:
        sent.append((link.seat, entry.job, len(link.entries)))
        send(link, entry)

    monkeypatch.setattr(Link, "send", noting_send)
    return sent


async def test_each_attempt_is_made_elsewhere_and_the_last_one_alone(
    raw: RawBytes, memory: memoryview, sent: list[tuple[int, str, int]]
) -> None:
    async with pool_of(3, raw) as engine:
        poison = engine.submit("poison", fault_task(Fault.EXIT, Point.COMPUTE, CELLS[0], times=9))
        others = [engine.submit("other", write_task(cell, 7, seconds=0.002)) for cell in CELLS[1:]]
        with pytest.raises(WorkerError):
            await poison
        await asyncio.gather(*others)
    assert [result(memory, cell) for cell in CELLS[1:]] == [7] * len(CELLS[1:])
    attempts_at = [index for index, (_, job, _) in enumerate(sent) if job == "poison"]
    seats = [sent[index][0] for index in attempts_at]
    assert sorted(seats) == [0, 1, 2], "on three workers"
    last = attempts_at[-1]
    assert sent[last][2] == 0, "nothing runs before it"
    behind = next((held for seat, _, held in sent[last + 1 :] if seat == seats[-1]), 0)
    assert behind == 0, "nothing is sent to that worker before it is replaced"


async def test_a_suspect_waits_for_a_worker_in_another_seat(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw, in_flight=1) as engine:
        poison = engine.submit("poison", fault_task(Fault.EXIT, Point.COMPUTE, CELLS[0]))
        gate = engine.submit("gate", gate_task(CELLS[1]))
        await engine.submit("other", write_task(CELLS[2], 7))
        assert engine.status.restarts == 1, "the other task has run on the replacement"
        assert (attempts(memory, CELLS[0]), engine.status.queued) == (1, 1)
        open_gate(memory, CELLS[1])
        await asyncio.gather(poison, gate)
    assert attempts(memory, CELLS[0]) == 2


async def test_a_wrong_prediction_costs_time_but_no_task(raw: RawBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "FLOOR_SECONDS", 0.05)
    async with pool_of(2, raw, task_timeout_seconds=0.6) as engine:
        slow = engine.submit("job", write_task(CELLS[0], 7, seconds=0.3))
        await slow
        assert engine.status.endings == {"overran": 2}
        again = engine.submit("job", write_task(CELLS[0], 7, seconds=0.3))
        await again
        assert engine.status.endings == {"overran": 2}, "what it took is known now"
        with pytest.raises(WorkerError, match=r"2 × ran longer than 0\.05 s; 1 × ran longer than 0\.6 s"):
            await engine.submit("job", fault_task(Fault.SPIN, Point.COMPUTE, CELLS[1], times=9))


async def test_nobody_waits_behind_a_long_task(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        await engine.submit("job", write_task(CELLS[0], 7, seconds=0.15))
        long = engine.submit("job", write_task(CELLS[0], 7, seconds=0.15))
        engine.submit("other", gate_task(CELLS[1]))
        assert engine.status.queued == 1
        await long
        assert engine.status.queued == 0
        open_gate(memory, CELLS[1])


async def test_a_job_that_has_ended_costs_its_worker_when_it_does_not_leave(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(1, raw) as engine:
        hung = engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, CELLS[0], times=9))
        behind = engine.submit("other", write_task(CELLS[1], 7))
        assert await engine.wait_idle("job", 0.05) is None
        assert hung.cancelled()
        await behind
        assert result(memory, CELLS[1]) == 7
        assert engine.status.endings == {"cancelled": 1}
        assert attempts(memory, CELLS[0]) == 1


async def test_the_end_of_a_job_is_held_against_no_task(
    raw: RawBytes, memory: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill_server.engine.pool.MAX_LOSSES", 1)
    async with pool_of(1, raw) as engine:
        runs = engine.submit("other", gate_task(CELLS[0]))
        waits = engine.submit("job", write_task(CELLS[1], 7))
        assert await engine.wait_idle("job", 0.01) is None
        assert waits.cancelled()
        open_gate(memory, CELLS[0])
        await runs
    assert (result(memory, CELLS[0]), result(memory, CELLS[1])) == (DONE, 0)


@pytest.fixture
def undead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Undead]:
    monkeypatch.setattr("arraymill_server.engine.link.FENCE_SECONDS", 0.05)
    undead = Undead(monkeypatch)
    yield undead
    undead.let_go()


async def test_a_worker_that_cannot_be_killed_is_replaced(raw: RawBytes, memory: memoryview, undead: Undead) -> None:
    async with pool_of(1, raw, task_timeout_seconds=0.1) as engine:
        stuck = engine.submit("job", fault_task(Fault.SPIN, Point.COMPUTE, CELLS[0], times=9))
        behind = engine.submit("other", write_task(CELLS[1], 7))
        with pytest.raises(WorkerError, match=r"spin@compute: .* ran longer than 0\.1 s and could not be killed"):
            await stuck
        await behind
        assert (result(memory, CELLS[1]), attempts(memory, CELLS[0])) == (7, 1)
        fence = await engine.wait_idle("job")
        assert fence is not None
        await engine.submit("other", write_task(CELLS[2], 7))
        assert not fence.done()
        status = engine.status
        assert (status.workers, status.fenced, status.endings) == (1, 1, {"overran": 1})
        undead.let_go()
        await fence
        assert engine.status.fenced == 0
        assert engine.status.restarts == 1
        assert await engine.wait_idle("job") is None


async def test_a_job_ends_though_its_worker_cannot_be_killed(raw: RawBytes, undead: Undead) -> None:
    async with pool_of(2, raw) as engine:
        stuck = [engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, cell, times=9)) for cell in CELLS[:2]]
        fence = await engine.wait_idle("job", 0.01)
        assert fence is not None
        failures = await asyncio.gather(*stuck, return_exceptions=True)
        assert [type(failure) for failure in failures] == [WorkerError] * 2
        await engine.submit("other", write_task(CELLS[3], 7))
        undead.let_go()
        await fence


async def test_a_confirmed_end_does_not_free_what_another_worker_touches(
    raw: RawBytes, memory: memoryview, undead: Undead, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(2, raw) as engine:
        await engine.submit("job", write_task(CELLS[0], 7, seconds=0.3))
        monkeypatch.setattr(cost, "FLOOR_SECONDS", 0.05)
        slow = engine.submit("job", write_task(CELLS[0], 8, seconds=1.0))
        with pytest.raises(WorkerError, match="could not be killed"):
            await engine.submit("job", fault_task(Fault.HANG, Point.COMPUTE, CELLS[1], times=9))
        undead.let_go()
        while engine.status.fenced:
            await engine.submit("other", write_task(CELLS[2], 7))
        assert await engine.wait_idle("job", 60.0) is None
        assert result(memory, CELLS[0]) == 8
        await slow


async def test_the_pool_closes_though_a_worker_cannot_be_killed(raw: RawBytes, undead: Undead) -> None:
    async with pool_of(1, raw, task_timeout_seconds=0.05) as engine:
        with pytest.raises(WorkerError):
            await engine.submit("job", fault_task(Fault.SPIN, Point.COMPUTE, CELLS[0], times=9))
        await engine.submit("other", write_task(CELLS[1], 7))
        assert engine.status.fenced == 1
        await engine.close()
        assert engine.status.fenced == 0


async def test_workers_that_cannot_be_killed_are_bounded(raw: RawBytes, undead: Undead) -> None:
    async with pool_of(1, raw, task_timeout_seconds=0.05) as engine:
        for cell in CELLS[:2]:
            with pytest.raises(WorkerError):
                await engine.submit("job", fault_task(Fault.SPIN, Point.COMPUTE, cell, times=9))
        with pytest.raises(EngineStartError, match="2 worker processes of the server cannot be killed"):
            await engine.submit("job", write_task(CELLS[2], 7))
        undead.let_go()
        fence = await engine.wait_idle("job")
        assert fence is not None
        await fence
        await engine.submit("job", write_task(CELLS[2], 7))


async def test_workers_are_recycled_after_their_tasks(raw: RawBytes, memory: memoryview) -> None:
    async with pool_of(2, raw, worker_tasks=5) as engine:
        before = set(worker_pids())
        while (status := engine.status).recycled < 4:
            await asyncio.gather(*(engine.submit("job", write_task(cell, 7)) for cell in CELLS[:4]))
            assert 2 <= status.workers <= 3, "there is no gap, and one successor at a time"
        assert (status.restarts, status.endings) == (0, {})
        assert not before & set(worker_pids())
    assert [result(memory, cell) for cell in CELLS[:4]] == [7] * 4


async def test_a_worker_that_has_grown_is_recycled(raw: RawBytes) -> None:
    async with pool_of(1, raw) as engine:
        before = worker_pids()

        async def leak() -> None:
            await engine.submit("job", leak_task(CELLS[0], WORKER_MEMORY // 4))
            await engine.submit("job", write_task(CELLS[1], 7, seconds=0.12))

        await leak()
        await engine.submit("job", write_task(CELLS[1], 7, seconds=0.12))
        assert worker_pids() == before, "it may grow by half of its limit"
        while not engine.status.recycled:
            await leak()
        assert engine.status.restarts == 0
        assert worker_pids() != before


async def test_a_successor_that_does_not_live_leaves_the_worker_in_its_seat(
    raw: RawBytes, memory: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arraymill_server.engine.supervisor.LAST_DELAY_SECONDS", 3600.0)
    async with pool_of(1, raw, worker_tasks=3) as engine:
        before = worker_pids()
        arm_start(memory, Fault.EXIT, 1)
        with capture_logs() as logs:
            while not logs:
                await engine.submit("job", write_task(CELLS[1], 7))
        assert [log["cause"] for log in logs] == ["exited with code 3"]
        for _ in range(20):
            await engine.submit("job", write_task(CELLS[1], 7))
        assert (worker_pids(), engine.status.recycled) == (before, 0)
