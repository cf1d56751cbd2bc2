"""The asyncio shell: waiting, waking, cancelling."""

from __future__ import annotations

import asyncio
import ctypes
from contextlib import AsyncExitStack

import numpy as np
import pytest

from arraymill_proto.errors import BusyError, TooLargeError
from arraymill_proto.graph import ArrayType
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.jobs.admission import Admission, Turn
from arraymill_server.jobs.line import MAX_OVERTAKES
from arraymill_server.jobs.residents import Residents


@pytest.fixture
def arena() -> Arena:
    return Arena((ctypes.c_ubyte * (16 * PAGE))())


@pytest.fixture
def admission(arena: Arena) -> Admission:
    return Admission(arena, max_waiting=4)


def ask(admission: Admission, pages: int, client: str = "c") -> Turn:
    return admission.admit(pages * PAGE, pages * PAGE, owner=f"job of {client}", client=client)


async def hold(turn: Turn, until: asyncio.Event) -> int:
    async with turn as lease:
        await until.wait()
        return lease.size


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_free_arena_admits_at_once(arena: Arena, admission: Admission) -> None:
    turn = admission.admit(1, 4 * PAGE, owner="job 7", client="c")
    async with turn as lease:
        assert (lease.size, lease.owner, arena.leased) == (4 * PAGE, "job 7", 4 * PAGE)
        assert (admission.running, admission.waiting) == (1, 0)
        assert admission.position(turn) is None
        assert repr(turn) == f"<Turn of job 7: {lease!r}>"
        assert repr(admission) == "<Admission 1 running, 0 waiting for 0 B>"
    assert (arena.leased, admission.running) == (0, 0)


async def test_a_release_wakes_who_waits(arena: Arena, admission: Admission) -> None:
    end = asyncio.Event()
    turn = ask(admission, 16)
    async with ask(admission, 8):
        waiting = asyncio.create_task(hold(turn, end))
        await settle()
        assert (admission.position(turn), admission.waiting) == (0, 1)
        assert repr(turn) == "<Turn of job of c: behind 0 jobs>"
        assert repr(admission) == "<Admission 1 running, 1 waiting for 64 KiB>"
    await settle()
    assert (admission.running, arena.free) == (1, 0)
    end.set()
    assert await waiting == 16 * PAGE
    assert arena.leased == 0


async def test_a_deleted_array_wakes_who_waits(arena: Arena, admission: Admission) -> None:
    residents = Residents(arena, 8 * PAGE, 60)
    pending = residents.reserve(ArrayType((4 * PAGE,), np.dtype("u1")), (0,))
    async with admission.admit(1, 1, owner="put", client="c", keep=pending):
        array = residents.commit(pending)
    async with ask(admission, 8):
        waiting = asyncio.create_task(hold(ask(admission, 8), asyncio.Event()))
        await settle()
        assert admission.waiting == 1
        residents.delete(array.id)
        await settle()
        assert (admission.running, admission.waiting) == (2, 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert arena.leased == 0


async def test_cancelling_a_wait_gives_the_turn_up_and_lets_others_on(arena: Arena, admission: Admission) -> None:
    end = asyncio.Event()
    async with ask(admission, 8):
        large = asyncio.create_task(hold(ask(admission, 16), end))
        await settle()
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        assert admission.waiting == 0
        end.set()
        assert await hold(ask(admission, 8), end) == 8 * PAGE
    assert arena.leased == 0


async def test_cancelling_one_that_may_not_be_passed_any_more_lets_others_on(admission: Admission) -> None:
    async with ask(admission, 8):
        large = asyncio.create_task(hold(ask(admission, 16), asyncio.Event()))
        await settle()
        for _ in range(MAX_OVERTAKES):
            async with ask(admission, 1):
                pass
        small = asyncio.create_task(hold(ask(admission, 1), end := asyncio.Event()))
        await settle()
        assert admission.waiting == 2
        large.cancel()
        await settle()
        assert (admission.waiting, admission.running) == (0, 2)
        end.set()
        assert await small == PAGE
    with pytest.raises(asyncio.CancelledError):
        await large


async def test_cancelling_between_grant_and_waking_loses_nothing(arena: Arena, admission: Admission) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ask(admission, 16))
        waiting = asyncio.create_task(hold(ask(admission, 16), asyncio.Event()))
        await settle()
        await stack.aclose()
        assert admission.running == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert (admission.running, arena.leased) == (0, 0)


async def test_refusals_leave_nothing_behind(arena: Arena, admission: Admission) -> None:
    with pytest.raises(TooLargeError):
        await hold(ask(admission, 17), asyncio.Event())
    end = asyncio.Event()
    async with ask(admission, 16):
        waiting = [asyncio.create_task(hold(ask(admission, 16, client), end)) for client in "wxyz"]
        await settle()
        with pytest.raises(BusyError):
            await hold(ask(admission, 1), end)
        assert admission.waiting == 4
    end.set()
    assert await asyncio.gather(*waiting) == [16 * PAGE] * 4
    assert arena.leased == 0


async def test_a_waiter_that_residents_shut_out_gets_the_error(arena: Arena, admission: Admission) -> None:
    array: Lease | None = None
    async with ask(admission, 8):
        waiting = asyncio.create_task(hold(ask(admission, 16), asyncio.Event()))
        await settle()
        array = arena.lease(1, "array", top=True)
        assert array is not None
    with pytest.raises(TooLargeError, match="needs 64 KiB of memory in one piece"):
        await waiting
    array.release()
    assert (admission.running, admission.waiting, arena.leased) == (0, 0, 0)


async def test_an_error_in_the_block_releases(arena: Arena, admission: Admission) -> None:
    with pytest.raises(ZeroDivisionError):
        async with ask(admission, 1):
            raise ZeroDivisionError
    assert arena.leased == 0


async def test_hundreds_of_jobs_of_many_clients_all_end(arena: Arena) -> None:
    admission = Admission(arena, max_waiting=1000)

    async def run(number: int) -> int:
        pages = 1 + number * 7 % 16
        async with ask(admission, pages, client=f"client {number % 9}") as lease:
            await asyncio.sleep(0)
            return lease.size // PAGE - pages

    assert await asyncio.gather(*map(run, range(300))) == [0] * 300
    assert (admission.running, admission.waiting, arena.largest_free) == (0, 0, arena.size)
