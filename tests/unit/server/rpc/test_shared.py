"""Memory shared with clients: counted from before it is made until its last user is gone."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from memory_lane import PAGE, budget_of, is_free
from patience import turns, until

from arraymill_proto.errors import ArrayNotFoundError, BusyError, ParameterError, TooLargeError
from arraymill_server.arena import segments as segments_module
from arraymill_server.rpc import shared
from arraymill_server.rpc.shared import MAX_ALL_SEGMENTS, Budget, SharedMemory, Staging

MOST = 64 * PAGE


@pytest.fixture
def budget() -> Iterator[Budget]:
    """64 pages, all of which are free again in the end, with no file left."""
    budget = budget_of(MOST)
    yield budget
    assert is_free(budget)


class SlowKernel:
    """Makes files when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go_on = Event()

        def slow(size: int) -> int:
            self.begun += 1
            assert self.go_on.wait(5)
            return segments_module.create(size)

        monkeypatch.setattr(shared, "create", slow)


async def test_sizes_are_whole_pages_and_count_until_they_are_released(budget: Budget) -> None:
    memory = SharedMemory(budget, "me")
    one, two = await memory.make(1), await memory.make(PAGE + 1)
    assert (one.segment.size, two.segment.size) == (PAGE, 2 * PAGE)
    assert repr(budget.shares) == f"<Shares of 1 clients: {3 * PAGE:,} of {MOST:,} bytes>"
    assert repr(memory) == f"<SharedMemory of me: 2 segments of {3 * PAGE:,} bytes>"
    assert memory.get(two.segment.number) is two
    memory.release(one.segment.number)
    assert budget.segments.nbytes == 2 * PAGE
    for gone in (one.segment.number, 12345):
        with pytest.raises(ArrayNotFoundError, match=f"no segment {gone} "):
            memory.get(gone)
        with pytest.raises(ArrayNotFoundError):
            memory.release(gone)
    memory.close()
    memory.close()


async def test_what_jobs_use_stays_when_the_client_is_gone(budget: Budget) -> None:
    memory = SharedMemory(budget, "me")
    held = await memory.make(PAGE)
    held.hold()
    memory.release(held.segment.number)
    held.hold()
    memory.close()
    assert budget.segments.nbytes == PAGE
    assert repr(held) == f"<Held <Segment 1: {PAGE:,} bytes> by 2>"
    held.release()
    assert budget.segments.nbytes == PAGE
    held.release()
    assert budget.segments.nbytes == 0


async def test_refusals_tell_their_numbers(budget: Budget) -> None:
    memory = SharedMemory(budget, "me")
    for nbytes in (0, -1):
        with pytest.raises(ParameterError, match=f"{nbytes} bytes of memory"):
            await memory.make(nbytes)
    with pytest.raises(TooLargeError, match="260 KiB to be shared, the server shares at most 256 KiB") as large:
        await memory.make(MOST + 1)
    assert (large.value.details["needed_bytes"], large.value.details["limit"]) == (str(MOST + PAGE), str(MOST))
    await memory.make(MOST - PAGE)
    with pytest.raises(BusyError, match="no room for 8 KiB more in the 256 KiB") as busy:
        await memory.make(2 * PAGE)
    assert busy.value.details["needed_bytes"] == str(2 * PAGE)
    memory.close()


async def test_who_comes_next_finds_room(budget: Budget) -> None:
    greedy, other = SharedMemory(budget, "greedy"), SharedMemory(budget, "other")
    for _ in range(56):
        await greedy.make(PAGE)
    with pytest.raises(BusyError):
        await greedy.make(PAGE)  # it may hold seven times what it leaves free
    await other.make(6 * PAGE)
    greedy.close()
    other.close()


async def test_segments_are_bounded_however_small_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_SEGMENTS", 3)
    budget = budget_of(MOST, 8)
    one, two = SharedMemory(budget, "one"), SharedMemory(budget, "two")
    for _ in range(3):
        await one.make(PAGE)
    with pytest.raises(BusyError, match="3 arrays of this client"):
        await one.make(PAGE)
    for _ in range(3):
        await two.make(PAGE)
    three = [SharedMemory(budget, f"three {number}") for number in range(3)]
    await three[0].make(PAGE)
    await three[1].make(PAGE)
    with pytest.raises(BusyError, match="no room"):
        await three[2].make(PAGE)
    for memory in (one, two, *three):
        memory.close()
    assert is_free(budget)


@pytest.mark.parametrize(
    ("limit", "most"), [(1 << 30, MAX_ALL_SEGMENTS), (1024, 128), (resource.RLIM_INFINITY, MAX_ALL_SEGMENTS)]
)
def test_there_are_no_more_segments_than_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    def getrlimit(_: int) -> tuple[int, int]:
        return limit, limit

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    assert f"of {most:,} bytes" in repr(budget_of(MOST).places)


# ------------------------------------------------------------------ while it is made


async def test_what_is_being_made_counts(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SlowKernel(monkeypatch)
    memory = SharedMemory(budget, "me")
    making = asyncio.ensure_future(memory.make(MOST))
    await until(lambda: kernel.begun == 1)
    with pytest.raises(BusyError):
        await SharedMemory(budget, "other").make(PAGE)
    kernel.go_on.set()
    await making
    memory.close()


@pytest.mark.parametrize("waiting", [1, 3])
async def test_what_nobody_waits_for_counts_until_it_is_gone(
    budget: Budget, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    kernel = SlowKernel(monkeypatch)
    memory = SharedMemory(budget, "me")
    makings = [asyncio.ensure_future(memory.make(PAGE)) for _ in range(waiting)]
    await until(lambda: kernel.begun == 1)
    for making in makings:
        making.cancel()
    await asyncio.wait(makings)
    assert all(making.cancelled() for making in makings)
    with pytest.raises(BusyError):
        await SharedMemory(budget, "other").make(MOST)
    kernel.go_on.set()
    await until(lambda: is_free(budget))
    assert kernel.begun == 1, "what has not been begun is not made"
    await SharedMemory(budget, "other").make(PAGE)
    memory.close()
    for segment in list(budget.segments):
        budget.segments.remove(segment)
    budget.displace("other", PAGE)


async def test_memory_that_is_closed_while_a_segment_is_made_gets_none(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = SlowKernel(monkeypatch)
    memory = SharedMemory(budget, "me")
    making = asyncio.ensure_future(memory.make(PAGE))
    await until(lambda: kernel.begun == 1)
    memory.close()
    kernel.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await making


async def test_one_file_is_made_at_a_time(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SlowKernel(monkeypatch)
    memories = [SharedMemory(budget, f"{number}") for number in range(4)]
    makings = [asyncio.ensure_future(memory.make(PAGE)) for memory in memories]
    await until(lambda: kernel.begun > 0)
    await turns(20)
    assert kernel.begun == 1
    kernel.go_on.set()
    await asyncio.gather(*makings)
    for memory in memories:
        memory.close()


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE])
@pytest.mark.parametrize("place", [(shared, "create"), (segments_module, "map_segment")], ids=["file", "mapping"])
async def test_a_kernel_that_has_none(
    budget: Budget, monkeypatch: pytest.MonkeyPatch, number: int, place: tuple[Any, str]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*place, refuse)
        memory = SharedMemory(budget, "me")
        with pytest.raises(BusyError, match=f"no memory for 4.00 KiB more: {os.strerror(number)}|no memory for 4 KiB"):
            await memory.make(PAGE)
    assert is_free(budget)
    await memory.make(PAGE)
    memory.close()


# ------------------------------------------------------------------ staging


async def test_workspaces_are_leased_while_they_last(budget: Budget) -> None:
    memory = SharedMemory(budget, "me")
    held = await memory.make(8 * PAGE)
    staging = Staging(held)
    first = staging.lease(PAGE, 6 * PAGE, "job 1")
    assert first is not None
    assert (first.address, first.size) == (held.segment.address, 6 * PAGE)
    second = staging.lease(PAGE, 6 * PAGE, "job 2")
    assert second is not None
    assert (second.address, second.size) == (held.segment.address + 6 * PAGE, 2 * PAGE), "less than it can use"
    assert staging.lease(1, PAGE, "job 3") is None
    first.release()
    assert staging.lease(7 * PAGE, 7 * PAGE, "job 3") is None
    third = staging.lease(6 * PAGE, 6 * PAGE, "job 3")
    assert third is not None
    assert third.address == held.segment.address
    memory.close()
    assert budget.segments.nbytes == 8 * PAGE, "jobs still use it"
    second.release()
    third.release()
    del staging, first, second, third, held


async def test_a_workspace_is_given_back_by_the_last_who_uses_it(budget: Budget) -> None:
    memory = SharedMemory(budget, "me")
    staging = Staging(await memory.make(PAGE))
    lease = staging.lease(PAGE, PAGE, "job")
    assert lease is not None
    lease.hold()
    lease.release()
    assert staging.lease(PAGE, PAGE, "other") is None
    lease.release()
    other = staging.lease(PAGE, PAGE, "other")
    assert other is not None
    other.release()
    memory.close()
    del staging, lease, other
