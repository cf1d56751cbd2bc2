"""The registry of resident arrays, on a clock that the test moves."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from arraymill_proto.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    BusyError,
    ParameterError,
    TooLargeError,
)
from arraymill_proto.graph import ArrayType
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.config import MAX_TTL_SECONDS
from arraymill_server.jobs.residents import IDLE_DEADLINES, ResidentArray, Residents


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena((ctypes.c_ubyte * (16 * PAGE))())
    yield arena
    for lease in arena.leases:
        lease.release()


@pytest.fixture
def residents(arena: Arena, clock: Clock) -> Residents:
    return Residents(arena, 8 * PAGE, 60.0, clock)


def bytes_of(pages: int) -> ArrayType:
    return ArrayType((pages * PAGE,), np.dtype("u1"))


def put(residents: Residents, pages: int = 1, name: str = "", ttl: float | None = None) -> ResidentArray:
    pending = residents.reserve(bytes_of(pages), (0,), name, ttl)
    assert pending.place()
    return residents.commit(pending)


def test_reserving_claims_a_name_and_committing_shows(arena: Arena, residents: Residents, clock: Clock) -> None:
    type = ArrayType((2, PAGE // 4), np.dtype("f4"))
    pending = residents.reserve(type, (1, 0), "a/b.c-d_1")
    assert (pending.size, residents.used_bytes, arena.leased, len(residents)) == (2 * PAGE, 0, 0, 0)
    with pytest.raises(ArrayNotFoundError):
        residents.get(pending.id)
    with pytest.raises(ArrayNotFoundError):
        residents.get("a/b.c-d_1")
    assert pending.place()
    assert (pending.lease.offset, pending.lease.owner) == (14 * PAGE, "array a/b.c-d_1")
    assert repr(residents) == "<Residents 0 arrays, 1 pending: 8 KiB of 32 KiB>"
    array = residents.commit(pending)
    residents.abort(pending)
    assert residents.get(array.id) is residents.get("a/b.c-d_1") is array
    assert (array.type, array.order, array.lease, array.ttl) == (type, (1, 0), pending.lease, 60)
    assert len(array.id) == 32
    assert repr(residents) == "<Residents 1 arrays, 0 pending: 8 KiB of 32 KiB>"
    residents.delete("a/b.c-d_1")
    assert (residents.used_bytes, arena.leased, len(residents)) == (0, 0, 0)
    with pytest.raises(ArrayNotFoundError, match=f"no resident array '{array.id}': never made, deleted, or not used"):
        residents.delete(array.id)


@pytest.mark.parametrize("is_placed", [False, True])
def test_aborting_returns_everything(arena: Arena, residents: Residents, is_placed: bool) -> None:
    pending = residents.reserve(bytes_of(8), (0,), "x")
    if is_placed:
        assert pending.place()
    residents.abort(pending)
    residents.abort(pending)
    assert (residents.used_bytes, arena.leased) == (0, 0)
    assert put(residents, 8, "x").name == "x"


def test_memory_before_admission_is_a_bug(residents: Residents) -> None:
    pending = residents.reserve(bytes_of(1), (0,))
    with pytest.raises(AssertionError, match="pass it to admission as keep="):
        residents.commit(pending)
    residents.abort(pending)


def test_arrays_stay_in_the_part_of_the_arena_that_the_budget_covers(arena: Arena, residents: Residents) -> None:
    with arena.lease(15 * PAGE, "job") or pytest.fail("the arena is empty"):
        pending = residents.reserve(bytes_of(2), (0,))
        assert not pending.place()
    arrays = [put(residents, 2) for _ in range(3)]
    assert pending.place()
    assert {lease.offset for lease in arena.leases} == {8 * PAGE, 10 * PAGE, 12 * PAGE, 14 * PAGE}
    for array in arrays:
        residents.delete(array.id)
    residents.abort(pending)
    assert arena.leased == 0


def test_an_empty_array_has_a_place(residents: Residents) -> None:
    assert put(residents, 0).lease.size == PAGE


def test_a_name_is_taken_from_reservation_to_deletion(residents: Residents) -> None:
    pending = residents.reserve(bytes_of(1), (0,), "x")
    for _ in range(2):
        with pytest.raises(ArrayExistsError, match="an array of the name 'x' exists; delete it"):
            residents.reserve(bytes_of(1), (0,), "x")
        if not pending.placed:
            assert pending.place()
            residents.commit(pending)
    residents.delete("x")
    put(residents, 1, "x")
    put(residents)
    put(residents)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("a b", "'a b' is not a name; use letters"), ("ä", "is not a name"), ("x\n", "is not a name"),
     ("x" * 129, "the name has 129 characters, at most 128")],
)  # fmt: skip
def test_names_that_are_none(residents: Residents, name: str, complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        residents.reserve(bytes_of(1), (0,), name)
    assert residents.used_bytes == 0


def test_the_id_of_a_deleted_array_is_no_name(residents: Residents) -> None:
    id = put(residents).id
    residents.delete(id)
    with pytest.raises(ParameterError, match=f"'{id}' may be the id of an array or a job"):
        residents.reserve(bytes_of(1), (0,), id)
    with pytest.raises(ArrayNotFoundError):
        residents.get(id)


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), MAX_TTL_SECONDS + 1])
def test_times_to_live_that_are_none(residents: Residents, ttl: float) -> None:
    with pytest.raises(ParameterError, match=r"ttl_seconds is .*, not above 0 and at most 2,592,000"):
        residents.reserve(bytes_of(1), (0,), ttl=ttl)


def test_more_than_the_budget_is_too_large(residents: Residents) -> None:
    with pytest.raises(
        TooLargeError, match=r"takes 36 KiB, but all resident .* 32 KiB; start .* --resident-budget"
    ) as caught:
        residents.reserve(bytes_of(9), (0,))
    assert caught.value.details == {"needed_bytes": str(9 * PAGE), "budget_bytes": str(8 * PAGE)}


def test_a_spent_budget_is_busy_until_something_may_expire(residents: Residents, clock: Clock) -> None:
    put(residents, 5, ttl=20)
    clock.now += 5
    with pytest.raises(
        BusyError, match=r"takes 16 KiB, .* hold 20 KiB of the 32 KiB .*; delete arrays or let them expire"
    ) as caught:
        residents.reserve(bytes_of(4), (0,))
    assert caught.value.retry_after == 15
    residents.abort(residents.reserve(bytes_of(4), (0,), is_patient=True))
    pending = residents.reserve(bytes_of(3), (0,))
    assert pending.place()
    residents.delete(residents.page()[0][0].id)
    with pytest.raises(BusyError) as caught:
        residents.reserve(bytes_of(6), (0,))
    assert caught.value.retry_after == 1
    residents.abort(pending)


def test_arrays_expire_after_their_last_use(arena: Arena, residents: Residents, clock: Clock) -> None:
    assert residents.next_expiry() is None
    short, long = put(residents, name="short", ttl=10), put(residents, name="long")
    assert residents.next_expiry() == 1010
    clock.now = 1009
    assert residents.expire(clock.now) == 0
    residents.get("short")
    clock.now = 1010
    assert residents.expire(clock.now) == 0
    assert residents.next_expiry() == 1019
    assert residents.expires_in_seconds(short) == 9
    assert residents.expires_in_seconds(long) == 50
    assert residents.age_seconds(long) == 10
    clock.now = 1019
    assert residents.expire(clock.now) == 1
    with pytest.raises(ArrayNotFoundError):
        residents.get("short")
    clock.now = 5000
    assert residents.expire(clock.now) == 1
    assert (residents.next_expiry(), residents.used_bytes, arena.leased) == (None, 0, 0)


def test_who_waits_for_the_next_expiry_hears_of_new_arrays(residents: Residents) -> None:
    heard: list[float | None] = []
    residents.on_commit = lambda: heard.append(residents.next_expiry())
    put(residents, ttl=20)
    put(residents, ttl=5)
    assert heard == [1020, 1005]


def test_next_expiry_forgets_deleted_arrays(residents: Residents) -> None:
    put(residents, name="x", ttl=5)
    put(residents, ttl=20)
    residents.delete("x")
    assert residents.next_expiry() == 1020


def test_deadlines_of_deleted_arrays_do_not_pile_up(residents: Residents, clock: Clock) -> None:
    put(residents, name="stays", ttl=10)
    late = put(residents, name="late", ttl=500)
    for _ in range(5 * IDLE_DEADLINES):
        residents.delete(put(residents, ttl=100).id)
        kept = len(residents._deadlines)  # pyright: ignore[reportPrivateUsage]  # what nobody sees is what grows
        assert kept <= 2 * len(residents) + IDLE_DEADLINES + 3
    assert residents.next_expiry() == 1010
    clock.now = 1010
    assert residents.expire(clock.now) == 1
    assert residents.get("late") is late
    clock.now = 5000
    assert residents.expire(clock.now) == 1
    assert (residents.next_expiry(), residents.used_bytes) == (None, 0)


def test_a_pinned_array_does_not_expire(residents: Residents, clock: Clock) -> None:
    put(residents, name="x", ttl=10)
    array = residents.pin("x")
    clock.now += 100
    assert residents.expire(clock.now) == 0
    assert residents.expires_in_seconds(array) == 10
    residents.unpin(array)
    clock.now += 9
    assert residents.expire(clock.now) == 0
    clock.now += 1
    assert residents.expire(clock.now) == 1


def test_a_deleted_array_gives_its_memory_back_with_its_last_pin(arena: Arena, residents: Residents) -> None:
    put(residents, 8, name="x")
    array = residents.pin("x")
    assert residents.pin(array.id) is array
    residents.delete("x")
    with pytest.raises(ArrayNotFoundError):
        residents.pin("x")
    assert (len(residents), array.is_deleted, residents.used_bytes) == (0, True, 8 * PAGE)
    with pytest.raises(BusyError):
        residents.reserve(bytes_of(1), (0,), "x")
    residents.unpin(array)
    assert arena.resident == 8 * PAGE
    residents.unpin(array)
    assert (arena.resident, residents.used_bytes) == (0, 0)
    with pytest.raises(AssertionError, match="is not pinned"):
        residents.unpin(array)


def test_pages_in_order_of_creation_while_arrays_come_and_go(residents: Residents) -> None:
    arrays = [put(residents) for _ in range(6)]
    page, token = residents.page(2)
    assert page == tuple(arrays[:2])
    residents.delete(arrays[1].id)
    residents.delete(arrays[2].id)
    late = put(residents)
    page, token = residents.page(2, token)
    assert page == tuple(arrays[3:5])
    page, token = residents.page(2, token)
    assert (page, token) == ((arrays[5], late), "")
    assert residents.page() == ((arrays[0], *arrays[3:], late), "")
    assert Residents(Arena((ctypes.c_ubyte * PAGE)()), 0, 60).page() == ((), "")


def test_bad_pages(residents: Residents) -> None:
    with pytest.raises(ParameterError, match="page_size is -1"):
        residents.page(-1)
    with pytest.raises(ParameterError, match="page_token 'next' is none that this server gave"):
        residents.page(1, "next")
    assert residents.page(10**6) == ((), "")


def test_what_a_client_sent_is_shown_cut(residents: Residents) -> None:
    with pytest.raises(ArrayNotFoundError) as caught:
        residents.get("x" * 100_000)
    assert len(str(caught.value)) < 300
