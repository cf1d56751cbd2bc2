from __future__ import annotations

import asyncio
import math
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from pools import WORKER_MEMORY

from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.arena.segments import Segments
from arraymill_server.engine import supervisor as module
from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.link import Link
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.processes import Process, fork_server, spawn
from arraymill_server.engine.supervisor import KILLED_ATTEMPTS, START_ATTEMPTS, Bounds, Supervisor
from arraymill_server.engine.turns import Entry
from arraymill_server.engine.worker import WorkerSettings
from arraymill_server.testing.faults import Fault, arm_start, faulty_main


class Crew:
    """Hears what the supervisor tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.idle: asyncio.Queue[None] = asyncio.Queue()
        self.deaths: asyncio.Queue[Death] = asyncio.Queue()
        self.fences: asyncio.Queue[Death] = asyncio.Queue()
        self.failures: asyncio.Queue[EngineStartError] = asyncio.Queue()

    def worker_idle(self) -> None:
        self.idle.put_nowait(None)

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        raise AssertionError

    def worker_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        assert not waiting
        self.fences.put_nowait(death)

    def worker_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        assert suspect is None
        self.deaths.put_nowait(death)

    def workers_failed(self, error: EngineStartError) -> None:
        self.failures.put_nowait(error)


class BusyCrew(Crew):
    """Has its tasks answered."""

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        pass


def supervisor_of(crew: Crew, raw: RawBytes, count: int, start_seconds: float = 30.0) -> Supervisor:
    return Supervisor(
        crew,
        raw,
        count,
        main=faulty_main,
        settings=WorkerSettings(WORKER_MEMORY),
        bounds=Bounds(start_seconds, math.inf, 1 << 30),
        segments=Segments(Memory(attach(raw))),
    )


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
async def supervisor(crew: Crew, raw: RawBytes) -> AsyncGenerator[Supervisor, None]:
    supervisor = supervisor_of(crew, raw, 1)
    await supervisor.start()
    await crew.idle.get()
    yield supervisor
    await supervisor.close(grace_seconds=5)


def wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let what is to happen later happen at once; return the list of the delays."""
    delays: list[float] = []
    loop = asyncio.get_running_loop()

    def call_soon(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        delays.append(delay)
        return loop.call_at(loop.time(), callback)

    monkeypatch.setattr(loop, "call_later", call_soon)
    return delays


def kill_one(supervisor: Supervisor) -> None:
    os.kill(supervisor.links[0].pid, signal.SIGKILL)


def is_fork_server(pid: int) -> bool:
    return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_start_returns_when_all_are_ready(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 3)
    await supervisor.start()
    assert len({link.pid for link in supervisor.links}) == 3
    assert crew.idle.qsize() == 3
    await supervisor.close(grace_seconds=5)
    assert not supervisor.links
    assert {(await crew.deaths.get()).cause for _ in range(3)} == {"exited with code 0"}
    assert not supervisor.endings


async def test_a_dead_worker_is_replaced(crew: Crew, supervisor: Supervisor) -> None:
    before = supervisor.links[0].pid
    kill_one(supervisor)
    assert await crew.deaths.get() == Death(Ending.KILLED, "was ended by SIGKILL")
    await crew.idle.get()
    assert supervisor.links[0].pid != before
    assert supervisor.endings == {Ending.KILLED: 1}


@pytest.mark.parametrize("fault", Fault)
async def test_a_worker_that_fails_at_its_start_is_tried_again(
    crew: Crew, raw: RawBytes, memory: memoryview, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that shall fail have little time for it, and the last one has much."""
    supervisor = supervisor_of(crew, raw, 1, start_seconds=0.3)
    died = crew.worker_died

    def note_death(link: Link, death: Death, suspect: Entry | None) -> None:
        died(link, death, suspect)
        if crew.deaths.qsize() == START_ATTEMPTS - 1:
            arm_start(memory, fault, 0)
            monkeypatch.setattr(supervisor, "_bounds", Bounds(30.0, math.inf, 1 << 30))

    monkeypatch.setattr(crew, "worker_died", note_death)
    arm_start(memory, fault, START_ATTEMPTS)
    await supervisor.start()
    assert crew.deaths.qsize() == START_ATTEMPTS - 1
    await supervisor.close(grace_seconds=5)


async def test_workers_that_never_start_fail_the_start(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 1)
    arm_start(attach(raw), Fault.EXIT, 1000)
    with pytest.raises(EngineStartError, match=r"3 in a row \(the last one exited with code 3\); check the limits"):
        await supervisor.start()
    assert crew.deaths.qsize() == START_ATTEMPTS
    await supervisor.close(grace_seconds=5)


async def test_processes_that_cannot_be_made_fail_the_start(
    crew: Crew, raw: RawBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Process:
        raise OSError("no more processes")

    monkeypatch.setattr(module, "spawn", refuse)
    supervisor = supervisor_of(crew, raw, 2)
    with pytest.raises(EngineStartError, match="the last one could not be made"):
        await supervisor.start()


async def test_a_start_can_be_cancelled(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 1)
    arm_start(attach(raw), Fault.HANG, 1)
    start = asyncio.create_task(supervisor.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert crew.deaths.qsize() == 1


async def test_workers_that_die_idle_are_not_replaced_in_a_storm(
    crew: Crew, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays = wait_for_nothing(monkeypatch)
    for _ in range(START_ATTEMPTS + 8):
        kill_one(supervisor)
        await crew.deaths.get()
        await crew.idle.get()
    assert delays[0] == module.FIRST_DELAY_SECONDS
    assert all(after == min(2 * before, module.LAST_DELAY_SECONDS) for before, after in pairwise(delays))
    assert delays[-1] == module.LAST_DELAY_SECONDS
    assert crew.failures.empty(), "they were ready: this is no failure to start"


async def test_a_pool_without_workers_says_so_and_comes_back(crew: Crew, raw: RawBytes, supervisor: Supervisor) -> None:
    arm_start(attach(raw), Fault.EXIT, START_ATTEMPTS)
    kill_one(supervisor)
    error = await crew.failures.get()
    assert "exited with code 3" in str(error)
    await crew.idle.get()
    assert len(supervisor.links) == 1


async def test_workers_that_somebody_kills_at_their_start_get_more_attempts(
    crew: Crew, raw: RawBytes, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_DELAY_SECONDS", 0.001)
    arm_start(attach(raw), Fault.KILL, KILLED_ATTEMPTS - 2)
    kill_one(supervisor)
    await crew.idle.get()
    assert crew.failures.empty()
    arm_start(attach(raw), Fault.KILL, 1000)
    kill_one(supervisor)
    assert "in a row (the last one was ended by SIGKILL)" in str(await crew.failures.get())


async def test_a_worker_that_is_stopped_at_its_start_does_not_keep_its_seat(
    crew: Crew, raw: RawBytes, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_START_SECONDS", 0.25)
    for _ in range(2):
        arm_start(attach(raw), Fault.STOP, 2)
        kill_one(supervisor)
        await crew.deaths.get()
        assert await crew.deaths.get() == Death(Ending.UNREADY, "was not ready within 0.25 s")
        assert await crew.deaths.get() == Death(Ending.UNREADY, "was not ready within 0.5 s")
        await crew.idle.get()


async def test_a_slow_start_gets_more_time_while_other_workers_answer(
    raw: RawBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_START_SECONDS", 0.25)
    crew = BusyCrew()
    supervisor = supervisor_of(crew, raw, 2)
    await supervisor.start()
    try:
        other = supervisor.links[1]
        arm_start(attach(raw), Fault.STOP, 2)
        kill_one(supervisor)
        await crew.deaths.get()
        for seconds in (0.25, 0.5):
            supervisor.link_replied(other, cast("Entry", None), Reply(1, 1, 0.0))
            assert await crew.deaths.get() == Death(Ending.UNREADY, f"was not ready within {seconds:g} s")
    finally:
        await supervisor.close(grace_seconds=5)


async def test_starts_are_tried_for_ever(crew: Crew, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = count()

    def refuse(*args: Any) -> Process:
        if next(tries) < 2000:  # 2.0 ** 1024 is no number
            raise OSError("no more processes")
        return spawn(*args)

    wait_for_nothing(monkeypatch)
    monkeypatch.setattr(module, "spawn", refuse)
    kill_one(supervisor)
    while not crew.idle.empty():
        crew.idle.get_nowait()
    await crew.idle.get()
    assert len(supervisor.links) == 1


async def test_the_end_of_a_worker_is_told_although_the_fork_server_is_stopped(
    crew: Crew, supervisor: Supervisor
) -> None:
    (pid,) = filter(is_fork_server, fork_server.pids())
    os.kill(pid, signal.SIGSTOP)
    try:
        kill_one(supervisor)
        assert await crew.deaths.get() == Death(Ending.KILLED, "was ended by SIGKILL")
    finally:
        os.kill(pid, signal.SIGCONT)
    await crew.idle.get()
    assert pid in fork_server.pids()


async def test_close_is_safe_to_call_twice_and_at_once(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 2)
    await supervisor.start()
    await asyncio.gather(supervisor.close(grace_seconds=5), supervisor.close(grace_seconds=5))
    await supervisor.close(grace_seconds=5)
    assert crew.deaths.qsize() == 2


async def test_close_kills_who_does_not_leave(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 2)
    await supervisor.start()
    os.kill(supervisor.links[0].pid, signal.SIGSTOP)
    await supervisor.close(grace_seconds=0.5)
    causes = {(await crew.deaths.get()).cause for _ in range(2)}
    assert causes == {"exited with code 0", "was ended with the pool"}


async def test_a_cancelled_close_ends_all_the_same(crew: Crew, raw: RawBytes) -> None:
    supervisor = supervisor_of(crew, raw, 2)
    await supervisor.start()
    os.kill(supervisor.links[0].pid, signal.SIGSTOP)
    close = asyncio.create_task(supervisor.close(grace_seconds=60))
    await crew.deaths.get()
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    assert crew.deaths.qsize() == 1


async def test_a_folder_that_leaves_no_room_for_a_socket(
    crew: Crew, raw: RawBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 75)
    with pytest.raises(EngineStartError, match=r"has 76 bytes, at most 75 leave room .*; set TMPDIR to a shorter one"):
        await supervisor_of(crew, raw, 1).start()
