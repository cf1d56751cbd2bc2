"""The waiting line: turns, portions, refusals, and a state machine over arena and line together."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from arraymill_proto.errors import BusyError, TooLargeError
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.jobs.line import Line
from arraymill_server.jobs.ticket import Ticket

MIB = 1 << 20


MakeLine: TypeAlias = Callable[..., tuple[Arena, Line]]


@pytest.fixture
def make_line() -> Iterator[MakeLine]:
    """Makes a line over an arena of so many pages; what the test did not end is ended after it."""
    arenas: list[Arena] = []

    def make(pages: int = 16, max_waiting: int = 100, max_overtakes: int = 3) -> tuple[Arena, Line]:
        arena = Arena((ctypes.c_ubyte * (pages * PAGE))())
        arenas.append(arena)
        return arena, Line(arena, max_waiting, max_overtakes=max_overtakes)

    yield make
    for lease in [lease for arena in arenas for lease in arena.leases]:
        lease.release()


def ask(line: Line, pages: int, wanted: int = 0, *, client: str = "c", keep: Kept | None = None) -> Ticket:
    ticket = Ticket(pages * PAGE, max(pages, wanted) * PAGE, f"job of {client}", client, keep)
    line.join(ticket)
    return ticket


@dataclass(eq=False)
class Kept:
    """Resident memory beside a job, as `claim.Pending` has it."""

    arena: Arena
    size: int
    floor: int = 0
    is_patient: bool = False
    has_share: bool = True
    lease: Lease | None = None
    tries: int = 0
    """How often it was to be placed."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.size,)

    def place(self) -> bool:
        self.tries += 1
        self.lease = self.arena.lease(self.size, "array", top=True, floor=self.floor)
        return self.lease is not None

    def unplace(self) -> None:
        assert self.lease is not None
        self.lease.release()
        self.lease = None


def test_a_free_arena_serves_at_once(make_line: MakeLine) -> None:
    arena, line = make_line()
    ticket = ask(line, 4)
    assert line.position(ticket) == 0
    assert line.serve() == [ticket]
    assert line.position(ticket) is None
    assert ticket.lease is not None
    assert (ticket.lease.size, ticket.lease.owner) == (4 * PAGE, "job of c")
    assert (line.running, line.waiting, line.waiting_bytes) == (1, 0, 0)
    assert repr(line) == "<Line 1 running, 0 waiting for 0 B>"
    line.leave(ticket)
    assert (line.running, arena.leased) == (0, 0)


@pytest.mark.parametrize(
    ("minimum", "wanted", "given"), [(1, 8, 8), (1, 10, 5), (1, 96, 6), (10, 12, 10), (16, 100, 16), (3, 3, 3)]
)
def test_a_portion_is_a_halving_that_leaves_half_to_others(
    make_line: MakeLine, minimum: int, wanted: int, given: int
) -> None:
    _, line = make_line(16)
    ticket = ask(line, minimum, wanted)
    line.serve()
    assert ticket.lease is not None
    assert ticket.lease.size // PAGE == given


def test_one_that_could_use_everything_leaves_room(make_line: MakeLine) -> None:
    _, line = make_line(16)
    greedy, small = ask(line, 1, 100), ask(line, 1)
    assert line.serve() == [greedy, small]
    assert small.lease
    assert greedy.lease


def test_clients_take_turns_weighted_by_bytes(make_line: MakeLine) -> None:
    _, line = make_line(4 * MIB // PAGE)
    blocker = Ticket(4 * MIB, 0, "blocker", "z")
    line.join(blocker)
    line.serve()
    order: dict[Ticket, str] = {}
    for client, size, count in (("large", 2 * MIB, 3), ("small", MIB // 2, 6)):
        for number in range(count):
            ticket = Ticket(size, size, "job", client)
            line.join(ticket)
            order[ticket] = f"{client} {number}"
    line.leave(blocker)
    served: list[str] = []
    while line.waiting:
        for ticket in line.serve():
            served.append(order[ticket])
            line.leave(ticket)
    assert served == [
        *("small 0", "small 1", "small 2", "large 0", "small 3"),
        *("small 4", "small 5", "large 1", "large 2"),
    ]


def test_a_newcomer_does_not_stand_behind_a_backlog(make_line: MakeLine) -> None:
    _, line = make_line(1)
    running = ask(line, 1, client="a")
    line.serve()
    backlog = [ask(line, 1, client="a") for _ in range(5)]
    newcomer = ask(line, 1, client="b")
    assert [line.position(ticket) for ticket in backlog] == [0, 2, 3, 4, 5]
    assert line.position(newcomer) == 1
    line.leave(running)
    assert line.serve() == backlog[:1]


def test_giving_up_leaves_no_trace(make_line: MakeLine) -> None:
    _, line = make_line(1)
    running = ask(line, 1, client="a")
    line.serve()
    for ticket in [ask(line, 1, client="b") for _ in range(5)]:
        assert not line.leave(ticket), "it held nobody back"
    first, second = ask(line, 1, client="c"), ask(line, 1, client="b")
    assert (line.position(first), line.position(second)) == (0, 1)
    assert second.tag == first.tag
    line.leave(second)
    line.leave(second)
    assert (line.waiting, line.running) == (1, 1)
    line.leave(running)
    assert line.serve() == [first]


def test_small_jobs_pass_a_large_one_but_not_for_ever(make_line: MakeLine) -> None:
    _, line = make_line(16, max_overtakes=3)
    long = ask(line, 8)
    line.serve()
    large = ask(line, 12)
    passed = 0
    for _ in range(20):
        small = ask(line, 1, client="d")
        served = line.serve()
        passed += served == [small]
        for ticket in served:
            line.leave(ticket)
    assert large.lease is None
    assert passed == 3
    line.leave(long)
    assert line.serve()[0] is large


def test_a_ticket_before_a_barrier_does_not_let_others_pass_it(make_line: MakeLine) -> None:
    _, line = make_line(8 * MIB // PAGE, max_overtakes=1)
    running = Ticket(6 * MIB, 0, "job", "z")
    line.join(running)
    line.serve()
    first, barrier, passing = Ticket(4 * MIB, 0, "", "a"), Ticket(8 * MIB, 0, "", "b"), Ticket(MIB, 9 * MIB, "", "c")
    for ticket in (first, barrier, passing):
        line.join(ticket)
    assert line.serve() == [passing]
    assert (first.passed, barrier.passed) == (1, 1)
    before, behind = Ticket(7 * MIB // 2, 0, "", "d"), Ticket(PAGE, 16 * MIB, "", "d")
    line.join(before)
    line.join(behind)
    assert [line.position(ticket) for ticket in (first, before, barrier, behind)] == [0, 1, 2, 3]
    assert line.serve() == []
    line.leave(running)
    assert line.serve() == [first]
    for ticket in (first, passing):
        line.leave(ticket)
    assert line.serve() == [before]
    line.leave(before)
    assert line.serve() == [barrier]
    line.leave(barrier)
    assert line.serve() == [behind]


def test_what_can_never_fit_is_refused_at_once_with_the_numbers(make_line: MakeLine) -> None:
    arena, line = make_line(16)
    array = arena.lease(4 * PAGE, "array", top=True)
    assert array is not None
    with pytest.raises(TooLargeError) as caught:
        ask(line, 13)
    assert str(caught.value) == (
        "the job needs 52 KiB of memory in one piece, but the server's arena has 64 KiB, of which resident arrays hold "
        "16 KiB (largest piece: 48 KiB); delete resident arrays, split the job, or start the server with a larger "
        "--arena"
    )
    numbers = {"needed_bytes": 53248, "available_bytes": 49152, "arena_bytes": 65536, "resident_bytes": 16384}
    assert caught.value.details == {name: str(number) for name, number in numbers.items()}
    assert ask(line, 12) in line.serve()


def test_a_full_line_is_busy(make_line: MakeLine) -> None:
    _, line = make_line(1, max_waiting=2)
    ask(line, 1)
    line.serve()
    waiting = [ask(line, 1), ask(line, 1)]
    with pytest.raises(
        BusyError, match=r"2 jobs, of at most 2 \(--max-waiting-jobs\), wait for 8 KiB of memory; 2 .*again in 1 s"
    ) as caught:
        ask(line, 1)
    assert caught.value.retry_after == 1
    line.leave(waiting[0])
    ask(line, 1)


def test_workspace_and_kept_array_come_together_or_not_at_all(make_line: MakeLine) -> None:
    arena, line = make_line(16)
    running = ask(line, 8)
    line.serve()
    kept = Kept(arena, 4 * PAGE)
    ticket = ask(line, 6, keep=kept)
    assert line.serve() == []
    assert (kept.lease, arena.resident) == (None, 0)
    line.leave(running)
    assert line.serve() == [ticket]
    assert kept.lease is not None
    assert kept.lease.offset == 12 * PAGE
    line.leave(ticket)
    assert arena.resident == 4 * PAGE


def test_a_kept_array_that_does_not_fit_beside_the_workspace_is_refused(make_line: MakeLine) -> None:
    arena, line = make_line(16)
    with pytest.raises(TooLargeError, match="needs 48 KiB and 20 KiB for what it keeps of memory in one piece"):
        ask(line, 12, keep=Kept(arena, 5 * PAGE))
    with pytest.raises(TooLargeError):
        ask(line, 1, keep=Kept(arena, 5 * PAGE, floor=12 * PAGE))
    assert arena.leased == 0


def test_a_waiter_that_residents_shut_out_is_refused_when_nothing_runs_any_more(make_line: MakeLine) -> None:
    arena, line = make_line(16)
    running, large = ask(line, 8), ask(line, 16)
    line.serve()
    assert arena.lease(PAGE, "array", top=True)
    assert line.serve() == []
    line.leave(running)
    assert line.serve() == [large]
    assert isinstance(large.error, TooLargeError)
    assert large.lease is None


def test_one_client_leaves_places_to_others(make_line: MakeLine) -> None:
    _, line = make_line(1, max_waiting=8)
    ask(line, 1)
    line.serve()
    for _ in range(5):
        ask(line, 1, client="many")
    with pytest.raises(BusyError, match=r"5 jobs, of at most 8 .* 5 of them are this client's, which may have as"):
        ask(line, 1, client="many")
    for _ in range(2):
        ask(line, 1, client="few")
    with pytest.raises(BusyError):
        ask(line, 1, client="few")
    ask(line, 1, client="other")
    with pytest.raises(BusyError):
        ask(line, 1, client="late")


def test_a_barrier_that_gives_up_lets_those_behind_it_pass(make_line: MakeLine) -> None:
    _, line = make_line(16, max_overtakes=1)
    ask(line, 8)
    line.serve()
    barrier = ask(line, 12)
    assert line.serve() == []
    passing, behind = ask(line, 1, client="d"), ask(line, 2, client="d")
    assert line.serve() == [passing]
    assert line.leave(barrier)
    assert line.serve() == [behind]


def test_what_a_ticket_keeps_is_not_placed_where_the_rest_of_it_finds_no_room(make_line: MakeLine) -> None:
    """Each of the two would. What is kept may be a thousand arrays, and every look along the line would place them."""
    arena, line = make_line(16)
    running = ask(line, 8)
    line.serve()
    keep = Kept(arena, 4 * PAGE, is_patient=True)
    waiting = ask(line, 6, keep=keep)
    assert line.serve() == []
    assert (keep.tries, waiting.needed_bytes) == (0, 10 * PAGE)
    line.leave(running)
    assert line.serve() == [waiting]
    assert keep.tries == 1


def test_who_is_like_one_that_found_no_room_is_not_tried_in_the_same_look(make_line: MakeLine) -> None:
    """There are six free pages, and seven more: less where the kept ones go."""
    arena, line = make_line(16)
    low, _ = ask(line, 6), ask(line, 3)
    line.serve()
    line.leave(low)
    kept = [Kept(arena, size * PAGE, is_patient=True) for size in (2, 2, 2, 1)]
    for pages, keep in zip((7, 7, 6, 7), kept, strict=True):
        ask(line, pages, keep=keep)
    kept[2].has_share = False
    assert line.serve() == []
    assert [keep.tries for keep in kept] == [1, 0, 0, 1]
    kept[2].has_share = True
    assert [ticket.keep for ticket in line.serve()] == [kept[2]], "it needs less than the one before it"
