"""The arrays that one job leaves behind: all of them are there, or none."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import pytest

from arraymill_proto.errors import ArrayExistsError, ArraymillError, BusyError, ParameterError, TooLargeError
from arraymill_proto.graph import ArrayType
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.jobs.pending import PendingGroup
from arraymill_server.jobs.residents import Residents
from arraymill_server.plan.model import ResultSpec
from arraymill_server.quantities import format_bytes

PAGES = 16
BUDGET = 8 * PAGE


@pytest.fixture
def arena() -> Arena:
    return Arena((ctypes.c_ubyte * (PAGES * PAGE))())


@pytest.fixture
def residents(arena: Arena) -> Residents:
    return Residents(arena, BUDGET, 60.0, lambda: 0.0)


def results(*pages: int, nodes: Sequence[int] = ()) -> list[ResultSpec]:
    """Results of so many pages; of nodes 0, 1, …, unless told otherwise."""
    types = [ArrayType((count * PAGE,), np.dtype("u1")) for count in pages]
    numbers = nodes or range(len(pages))
    return [ResultSpec(node, type, (0,), (node,), True, ()) for node, type in zip(numbers, types, strict=True)]


def group_of(residents: Residents, *pages: int) -> PendingGroup:
    return PendingGroup.reserve(residents, results(*pages), "", None)


def nothing_is_claimed(residents: Residents, arena: Arena) -> bool:
    return (residents.used_bytes, arena.leases, repr(residents)[:32]) == (0, (), "<Residents 0 arrays, 0 pending: ")


def delete_all(residents: Residents) -> None:
    for array in residents.page()[0]:
        residents.delete(array.id)


def test_from_the_claim_to_the_arrays(residents: Residents, arena: Arena) -> None:
    group = group_of(residents, 2, 1)
    assert repr(group) == f"<PendingGroup of 2 arrays, {3 * PAGE:,} bytes>"
    assert (group.sizes, group.floor) == ((2 * PAGE, PAGE), (PAGES * PAGE) - BUDGET)
    assert (residents.used_bytes, arena.leased, len(residents)) == (0, 0, 0)
    assert group.place()
    assert (residents.used_bytes, arena.leased, len(residents)) == (3 * PAGE, 3 * PAGE, 0)
    addresses = group.addresses
    arrays = group.commit()
    assert {node: array.lease.offset for node, array in arrays.items()} == addresses
    assert [arrays[node].type.shape for node in (0, 1)] == [(2 * PAGE,), (PAGE,)]
    assert all(group.floor <= address < PAGES * PAGE for address in addresses.values())
    group.abort()
    assert (len(residents), residents.used_bytes) == (2, 3 * PAGE), "what is committed stays"
    delete_all(residents)
    assert nothing_is_claimed(residents, arena)


def test_a_node_that_is_two_outputs_is_one_array(residents: Residents) -> None:
    group = PendingGroup.reserve(residents, results(2, 1, 2, nodes=(7, 3, 7)), "", None)
    assert group.sizes == (2 * PAGE, PAGE)
    assert group.place()
    assert residents.used_bytes == 3 * PAGE
    assert set(group.commit()) == {7, 3}
    delete_all(residents)


def test_a_name_and_a_time_to_live(residents: Residents) -> None:
    group = PendingGroup.reserve(residents, results(1), "mine", 7.0)
    assert group.place()
    (array,) = group.commit().values()
    assert (residents.get("mine"), array.ttl) == (array, 7.0)
    delete_all(residents)


BAD: dict[str, tuple[tuple[int, ...], str, float | None, type[ArraymillError]]] = {
    "the second is too large for any budget": ((1, 9), "", None, TooLargeError),
    "together they are too large for any budget": ((4, 3, 2), "", None, TooLargeError),
    "one name for two": ((1, 1), "mine", None, ArrayExistsError),
    "no time to live": ((1, 1), "", -1.0, ParameterError),
}


@pytest.mark.parametrize("name", BAD)
def test_a_claim_that_fails_leaves_nothing(residents: Residents, arena: Arena, name: str) -> None:
    pages, array_name, ttl, error = BAD[name]
    with pytest.raises(error):
        PendingGroup.reserve(residents, results(*pages), array_name, ttl)
    assert nothing_is_claimed(residents, arena)
    PendingGroup.reserve(residents, results(8), "mine", None).abort()


def test_they_are_placed_together_or_not_at_all(residents: Residents, arena: Arena) -> None:
    """There are two pages for them: the first array would fit, and the second has no place."""
    others = arena.lease(BUDGET - 2 * PAGE, "others", top=True)
    assert others is not None
    group = group_of(residents, 2, 1)
    assert not group.place()
    assert arena.leases == (others,)
    others.release()
    assert group.place()
    group.abort()
    assert nothing_is_claimed(residents, arena)


def test_several_results_are_one_share(residents: Residents, arena: Arena) -> None:
    """What is asked for together counts together, and what the client has claimed or made before counts as well."""

    def reserve(client: str, *pages: int, is_patient: bool) -> PendingGroup:
        return PendingGroup.reserve(residents, results(*pages), "", None, client=client, is_patient=is_patient)

    first = reserve("a", 2, 1, is_patient=True)
    assert first.has_share
    assert first.place()
    second = reserve("a", 1, 1, is_patient=True)
    assert second.has_share
    third = reserve("a", 2, 3, is_patient=True)
    assert not third.has_share
    assert reserve("b", 2, 3, is_patient=True).has_share
    with pytest.raises(BusyError, match=f"{format_bytes(3 * PAGE)} of this client, which may hold 7 times"):
        reserve("a", 5, is_patient=False)
    arrays = first.commit()
    assert not reserve("a", 2, 3, is_patient=True).has_share
    for array in arrays.values():
        residents.delete(array.id)
    assert reserve("a", 2, 3, is_patient=True).has_share
    claim = reserve("a", 3, is_patient=False)
    with pytest.raises(BusyError):
        reserve("a", 5, is_patient=False)
    claim.abort()
    reserve("a", 3, is_patient=False).abort()
    assert arena.leased == 0


@pytest.mark.parametrize("is_torn", [False, True])
def test_they_lie_in_one_piece_where_there_is_one(residents: Residents, arena: Arena, is_torn: bool) -> None:
    others = arena.lease(2 * PAGE, "others", top=True)
    assert others is not None
    wall = arena.lease(3 * PAGE if is_torn else PAGE, "wall", top=True)
    assert wall is not None
    others.release()
    group = group_of(residents, 1, 2, 1)
    assert group.place()
    places = sorted((address, size) for address, size in zip(group.addresses.values(), group.sizes, strict=True))
    ends = [address + size for address, size in places]
    assert (ends[:-1] == [address for address, _ in places[1:]]) is not is_torn
    arena.check()
    assert residents.used_bytes == wall.size + 4 * PAGE
    for array in group.commit().values():
        residents.delete(array.id)
    wall.release()
    assert arena.leased == 0


def test_what_was_placed_can_be_placed_again(residents: Residents, arena: Arena) -> None:
    """Admission takes the memory back when the job's own does not fit."""
    group = group_of(residents, 2, 1)
    assert group.place()
    group.unplace()
    assert (arena.leased, residents.used_bytes) == (0, 0)
    assert group.place()
    group.abort()
    group.abort()
    assert nothing_is_claimed(residents, arena)


def test_what_never_had_memory_is_given_up(residents: Residents, arena: Arena) -> None:
    group_of(residents, 2, 1).abort()
    assert nothing_is_claimed(residents, arena)
