"""Priorities in the waiting line: weights that put urgent jobs first and starve nobody."""

from __future__ import annotations

import ctypes
from collections import Counter
from itertools import count

import numpy as np
import pytest

from arraymill_proto.errors import BusyError, TooLargeError
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import DEFAULT_PRIORITY, MAX_PRIORITY
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.jobs.line import Line
from arraymill_server.jobs.pending import PendingGroup
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.ticket import LEAST_COST, Ticket
from arraymill_server.plan.model import ResultSpec

MIB = 1 << 20


class Queue:
    """A line for an arena in which one job runs at a time; jobs bear names."""

    def __init__(self) -> None:
        self.arena = Arena((ctypes.c_ubyte * PAGE)())
        self.line = Line(self.arena, 10_000)
        self.running = Ticket(PAGE, 0, "", "first")
        self.line.join(self.running)
        assert self.line.serve() == [self.running]

    def join(self, name: str, priority: int = DEFAULT_PRIORITY, client: str = "c", wanted: int = 0) -> Ticket:
        ticket = Ticket(PAGE, wanted, name, client, priority=priority)
        self.line.join(ticket)
        return ticket

    def next(self) -> str:
        """End the job that runs; return the name of the next."""
        self.line.leave(self.running)
        (self.running,) = self.line.serve()
        return self.running.owner

    def close(self) -> None:
        while self.line.waiting:
            self.next()
        self.line.leave(self.running)


@pytest.mark.parametrize("priority", range(MAX_PRIORITY + 1))
def test_a_step_of_priority_halves_the_cost(priority: int) -> None:
    ticket = Ticket(PAGE, 64 * MIB, "", "", priority=priority)
    assert ticket.cost == 64 * MIB * 2.0 ** (DEFAULT_PRIORITY - priority)
    assert Ticket(PAGE, 0, "", "", priority=priority).cost == LEAST_COST * 2.0 ** (DEFAULT_PRIORITY - priority)


def test_clients_of_the_same_size_are_served_by_priority() -> None:
    queue = Queue()
    for priority in (5, 0, 9, 7, 3):
        queue.join(f"{priority}", priority, client=f"{priority}")
    assert [queue.next() for _ in range(5)] == ["9", "7", "5", "3", "0"]
    queue.close()


def test_an_urgent_job_does_not_wait_for_what_its_own_client_has_queued() -> None:
    queue = Queue()
    nightly = [queue.join(f"nightly {number}", 0) for number in range(20)]
    urgent = queue.join("urgent", 9)
    assert queue.line.position(urgent) == 0
    assert [queue.line.position(ticket) for ticket in nightly] == list(range(1, 21))
    assert queue.next() == "urgent"
    queue.close()


def test_the_jobs_of_one_client_and_priority_keep_their_order() -> None:
    queue = Queue()
    for number, size in enumerate((16 * MIB, 0, 4 * MIB, 0)):
        queue.join(f"{number}", 7, wanted=size)
    assert [queue.next() for _ in range(4)] == ["0", "1", "2", "3"]
    queue.close()


@pytest.mark.parametrize("clients", [1, 7])
def test_a_stream_of_the_highest_priority_leaves_the_lowest_its_turn(clients: int) -> None:
    """As many grants as the weights say: 512 jobs of the least size for one of the lowest priority, a little more
    where several clients stand at the same tag."""
    queue = Queue()
    names = count()
    for client in range(clients):
        for _ in range(3):
            queue.join(f"{next(names)}", 9, client=f"urgent {client}")
    queue.join("patient", 0, client="patient")
    grants = 0
    while (served := queue.next()) != "patient":
        queue.join(f"{next(names)}", 9, client=queue.running.client)
        grants += 1
        assert served != "patient"
        assert grants <= 512 * clients + clients * 3
    assert grants >= 500 * clients
    queue.close()


def test_shares_are_those_of_the_weights() -> None:
    queue = Queue()
    names = count()
    for priority in (9, 7, 5):
        for _ in range(2):
            queue.join(f"{next(names)}", priority, client=f"{priority}")
    served: Counter[str] = Counter()
    for _ in range(21 * 20):
        queue.next()
        served[queue.running.client] += 1
        queue.join(f"{next(names)}", queue.running.priority, client=queue.running.client)
    assert served["9"] == pytest.approx(16 * 20, abs=16)
    assert served["7"] == pytest.approx(4 * 20, abs=8)
    assert served["5"] == pytest.approx(20, abs=3)
    queue.close()


def test_places_are_found_by_owner() -> None:
    queue = Queue()
    tickets = [queue.join(f"job {number}", number % 10, client=f"{number % 7}") for number in range(50)]
    for _ in range(51):
        for ticket in tickets:
            assert queue.line.position_of(ticket.owner) == queue.line.position(ticket)
        if queue.line.waiting:
            queue.next()
    assert queue.line.position_of("nobody") is None
    queue.close()


def test_giving_up_is_not_found_any_more() -> None:
    queue = Queue()
    ticket = queue.join("mine")
    assert queue.line.position_of("mine") == 0
    queue.line.leave(ticket)
    assert queue.line.position_of("mine") is None
    queue.close()


def test_a_client_that_keeps_its_share_waits_and_is_passed() -> None:
    """What is in its way are its own arrays: whoever stands behind is served, also while something runs."""
    arena = Arena((ctypes.c_ubyte * (16 * PAGE))())
    line, residents = Line(arena, 10, max_overtakes=1), Residents(arena, 8 * PAGE, 60.0)
    results = [ResultSpec(1, ArrayType((PAGE,), np.dtype("u1")), (0,), (0,), True, ())]

    def ticket(client: str) -> Ticket:
        group = PendingGroup.reserve(residents, results, "", None, client=client, is_patient=True)
        ticket = Ticket(PAGE, 0, f"job of {client}", client, group)
        line.join(ticket)
        return ticket

    def kept(client: str) -> ResidentArray:
        served = ticket(client)
        assert line.serve() == [served]
        line.leave(served)
        assert isinstance(served.keep, PendingGroup)
        return served.keep.commit()[1]

    arrays = [kept("a") for _ in range(7)]
    waiting = ticket("a")
    assert line.serve() == []
    other = ticket("b")
    assert line.serve() == [other], "nobody waits behind one whose own arrays are in its way"
    assert line.position(waiting) == 0
    residents.delete(arrays[0].id)
    assert line.serve() == []
    residents.delete(arrays[1].id)
    assert line.serve() == [waiting]
    for lease in arena.leases:
        lease.release()


def test_results_that_find_no_room_between_others_are_refused_for_now() -> None:
    """The budget would do, but no piece is large enough: that passes, when others are deleted or expire."""
    arena = Arena((ctypes.c_ubyte * (16 * PAGE))())
    line, residents = Line(arena, 10), Residents(arena, 8 * PAGE, 60.0)
    leases = [arena.lease(PAGE, "array", top=True, floor=8 * PAGE) for _ in range(8)]
    for lease in leases[::2]:
        assert lease is not None
        lease.release()

    def ticket(minimum: int, *pages: int, is_patient: bool = False) -> Ticket:
        types = [ArrayType((size * PAGE,), np.dtype("u1")) for size in pages]
        arrays = [residents.reserve(type, (0,), is_patient=is_patient) for type in types]
        return Ticket(minimum, 0, "job", "c", PendingGroup(residents, dict(enumerate(arrays))))

    with pytest.raises(BusyError, match="no room between them for the 8 KiB that the job keeps") as caught:
        line.join(ticket(PAGE, 2))
    assert caught.value.retry_after > 0
    with pytest.raises(TooLargeError):
        line.join(ticket(15 * PAGE, 2))
    with pytest.raises(TooLargeError):
        line.join(ticket(15 * PAGE, 2, is_patient=True))
    patient = ticket(PAGE, 2, is_patient=True)
    line.join(patient)
    several = ticket(PAGE, 1, 1, 1)
    line.join(several)
    assert line.serve() == [several]
    assert line.position(patient) == 0
    for lease in arena.leases:
        lease.release()
