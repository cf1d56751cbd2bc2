"""The waiting line for memory: who is next, how much it gets, and who can never be served. No I/O.

Theory of operation. A job takes its whole workspace at once (and, with `keep`, the memory of the array that it leaves
behind in the same step) and gives it back at its end. So nobody waits while holding memory, and whenever all running
jobs have ended, whoever is next fits: there is no deadlock.

Order. Every ticket gets a tag when it joins, and the line is sorted by tags (see `fair`). A flow is the jobs of one
client at one priority, and the clock is never ahead of the first ticket that waits::

    cost = max(wanted + keep, LEAST_COST), × 2 for each step of priority below 5, ÷ 2 for each above

So clients take turns weighted by bytes, and a small job stands before a large one.

A priority is a weight and no rank: a job of priority 9 is served as if it were 16 times smaller, so even a stream of
them leaves one of priority 0 its share. It tells the jobs of one client apart as well: an urgent job does not stand
behind what the same client has sent for the night. Who spreads jobs over priorities gets the turns of several clients,
no more than who calls all of them urgent.

Overtaking. A ticket whose memory is not free may be passed by tickets behind it that fit, or the memory would stand
idle: `max_overtakes` times, then nobody behind it is served before it. The order itself starves nobody, since the clock
moves with every grant: until a ticket is first, each other client is given about as many bytes as the ticket costs.

Places. A client may have as many tickets in the line as there are places free: whoever sends most leaves half of them,
and whoever comes next finds one.

Portions. A job gets the largest of `wanted`, `wanted`/2, `wanted`/4, … that leaves half of the largest free extent to
others, but never less than its minimum. So one long job that could use everything never locks the small ones out.

A waiting job that can no longer run beside the residents that came meanwhile is refused, at the latest when nothing
runs any more, with the same error as one that never could. Jobs up to the arena minus the residents' budget never meet
this. A patient one, which somebody has submitted and may have left, waits until residents go, or until its client holds
no more of them than its share: only its client's deadline ends that. It is passed as often as it takes, since the
residents that are in its way may be in use for hours.

Rejected: to count age in grants instead of passes. With a deep backlog everybody becomes overdue, and the line turns
into first come, first served, behind whoever sent most.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from arraymill_proto.errors import BusyError, TooLargeError
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.jobs.fair import Tags
from arraymill_server.jobs.ticket import Ticket
from arraymill_server.quantities import format_bytes

MAX_OVERTAKES: Final = 64
"""How often others may pass a job that waits for more memory than is free. Enough to keep small jobs flowing while a
few large ones run; at the thousands of small jobs per second that a server does, it costs a large job some 20 ms."""

RETRY_AFTER_SECONDS: Final = 1.0
"""What a refused client is told to wait: a full line of small jobs is served in about that time."""


class Line:
    """Tickets that wait for memory of an arena.

    Args:
        arena: What is handed out.
        max_waiting: Tickets that may wait.
        max_overtakes: See the module's text.
    """

    def __init__(self, arena: Arena, max_waiting: int, *, max_overtakes: int = MAX_OVERTAKES) -> None:
        self._arena = arena
        self._max_waiting = max_waiting
        self._max_overtakes = max_overtakes
        self._line: list[Ticket] = []
        self._tags: Tags[tuple[str, int]] = Tags()
        self._owners: dict[str, Ticket] = {}
        self._places: Counter[str] = Counter()
        """Tickets that wait, by client."""
        self._joined = 0
        self._is_serving = False
        self._unplaced = math.inf
        """Bytes that were not to be placed in this look along the line: what keeps a piece as large is not tried."""
        self._unserved: tuple[int, tuple[int, ...]] | None = None
        """Of who found no room beside what it keeps, last in this look: its minimum, and the sizes of that. Who keeps
        the same and needs as much is not tried."""
        self.running = 0
        """Jobs that hold memory."""
        self.on_move: Callable[[], None] = lambda: None
        """Called when a ticket joins or leaves: those behind it have another place."""

    def __repr__(self) -> str:
        return f"<Line {self.running} running, {self.waiting} waiting for {format_bytes(self.waiting_bytes)}>"

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._line)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the waiting jobs need at least."""
        return sum(ticket.minimum for ticket in self._line)

    def position(self, ticket: Ticket) -> int | None:
        """Return how many jobs stand before this one, None when it does not wait."""
        return self._index(ticket) if ticket.is_waiting else None

    def position_of(self, owner: str) -> int | None:
        """Return how many jobs stand before that of an owner, None when it does not wait."""
        ticket = self._owners.get(owner)
        return None if ticket is None else self._index(ticket)

    def needed_bytes(self, owner: str) -> int:
        """Return the bytes that an owner waits for, results and all; 0 when it does not wait."""
        ticket = self._owners.get(owner)
        return 0 if ticket is None else ticket.needed_bytes

    def places(self) -> dict[str, int]:
        """Return the positions of all tickets, by owner."""
        return {ticket.owner: index for index, ticket in enumerate(self._line)}

    def join(self, ticket: Ticket) -> None:
        """Put a ticket into the line; `serve` decides about it.

        Raises:
            TooLargeError: It could not run even if nothing else did.
            BusyError: There is no place for this client, or resident arrays leave no room for what it keeps.
        """
        if not self._can_ever_fit(ticket):
            raise self._refusal(ticket)
        free = self._max_waiting - self.waiting
        if not free or self._places[ticket.client] > free:
            raise self._busy(ticket.client)
        self._joined += 1
        ticket.number = self._joined
        ticket.tag = self._tags.join(ticket.flow, ticket.cost)
        insort(self._line, ticket, key=_order)
        self._owners[ticket.owner] = ticket
        self._places[ticket.client] += 1
        ticket.is_waiting = True
        self.on_move()

    def serve(self) -> list[Ticket]:
        """Hand out what is free.

        Returns:
            The tickets that left the line, each with a lease or with an error.
        """
        if self._is_serving:  # a release in here is the undoing of an attempt: it frees nothing for others
            return []
        self._is_serving = True
        try:
            return list(self._serve())
        finally:
            self._is_serving = False

    def leave(self, ticket: Ticket) -> bool:
        """End a ticket: its lease is released, or it stops waiting.

        Returns:
            Whether others may be served now: not when it waited, and held nobody back. At the end of a server with
            thousands of jobs in the line, each look along it would cost milliseconds.
        """
        if ticket.is_waiting:
            self._remove(ticket)
            return ticket.passed >= self._max_overtakes
        if ticket.lease is not None:
            self.running -= 1
            ticket.lease.release()
        return True

    def _serve(self) -> Iterator[Ticket]:
        while (ticket := self._next()) is not None:
            self._remove(ticket)
            if ticket.lease is not None:
                self._count(ticket)
            yield ticket

    def _next(self) -> Ticket | None:
        free, largest = self._arena.free, self._arena.largest_free
        self._unplaced, self._unserved = math.inf, None
        for index, ticket in enumerate(self._line):
            is_barrier = self._is_barrier(ticket)
            is_last_chance = not ticket.is_patient and (is_barrier or not self.running)
            # Worth a try? To place a thousand results, and to take them back, holds the loop for 10 ms.
            may_fit = (
                ticket.minimum <= largest
                and ticket.needed_bytes <= free
                and ticket.largest_piece < self._unplaced
                and not self._is_like_unserved(ticket)
                and ticket.has_share
            )
            if (may_fit or is_last_chance) and self._settle(ticket, is_last_chance):
                for passed in self._line[:index] if ticket.lease else ():
                    passed.passed += 1
                return ticket
            if is_barrier:
                return None
        return None

    def _is_barrier(self, ticket: Ticket) -> bool:
        """Whether nobody behind it is served before it."""
        if ticket.passed < self._max_overtakes:
            return False
        if not ticket.is_patient:
            return True
        if self.running and ticket.has_share and self._fits_beside(ticket):
            return True
        ticket.passed = 0  # nobody's end helps it but a resident's; looked at again when as many have passed
        return False

    def _settle(self, ticket: Ticket, is_last_chance: bool) -> bool:
        ticket.lease = self._grant(ticket)
        if ticket.lease is None and is_last_chance and not self._can_ever_fit(ticket):
            ticket.error = self._refusal(ticket)
        return ticket.lease is not None or ticket.error is not None

    def _grant(self, ticket: Ticket) -> Lease | None:
        if ticket.keep is not None and not ticket.keep.place():
            if len(ticket.keep.sizes) == 1:
                self._unplaced = min(self._unplaced, ticket.largest_piece)
            return None
        lease = self._arena.lease(self._portion(ticket), ticket.owner)
        if lease is None and ticket.keep is not None:
            ticket.keep.unplace()
            self._unserved = ticket.minimum, ticket.keep.sizes
        return lease

    def _is_like_unserved(self, ticket: Ticket) -> bool:
        if self._unserved is None or ticket.keep is None:
            return False
        minimum, sizes = self._unserved
        return ticket.minimum >= minimum and ticket.keep.sizes == sizes

    def _portion(self, ticket: Ticket) -> int:
        size, room = ticket.wanted, self._arena.largest_free // 2
        while size > max(room, ticket.minimum):
            size //= 2
        return max(size, ticket.minimum)

    def _can_ever_fit(self, ticket: Ticket) -> bool:
        return self._fits_in_all(ticket) if ticket.is_patient else self._fits_beside(ticket)

    def _fits_beside(self, ticket: Ticket) -> bool:
        """Whether it could run if nothing else did, beside the residents of now."""
        if ticket.keep is None:
            return self._arena.fits_when_idle(ticket.minimum)
        return self._arena.fits_when_idle(ticket.minimum, keep=ticket.keep.sizes, floor=ticket.keep.floor)

    def _fits_in_all(self, ticket: Ticket) -> bool:
        """Whether it could run if there were nothing else at all."""
        arena, keep = self._arena, ticket.keep
        kept = sum(map(arena.aligned, keep.sizes)) if keep else 0
        floor = keep.floor if keep else arena.size
        return kept <= arena.size - floor and kept + arena.aligned(ticket.minimum) <= arena.size

    def _count(self, ticket: Ticket) -> None:
        self.running += 1
        first = self._line[0].tag if self._line else ticket.tag
        self._tags.served(min(ticket.tag, first))

    def _remove(self, ticket: Ticket) -> None:
        del self._line[self._index(ticket)]
        ticket.is_waiting = False
        if self._owners.get(ticket.owner) is ticket:
            del self._owners[ticket.owner]
        self._places[ticket.client] -= 1
        if not self._places[ticket.client]:
            del self._places[ticket.client]
        self._tags.leave(ticket.flow)
        self.on_move()

    def _index(self, ticket: Ticket) -> int:
        return bisect_left(self._line, _order(ticket), key=_order)

    def _busy(self, client: str) -> BusyError:
        own = self._places[client]
        return BusyError(
            f"{self.waiting:,} jobs, of at most {self._max_waiting:,} (--max-waiting-jobs), wait for "
            f"{format_bytes(self.waiting_bytes)} of memory; {own:,} of them are this client's, which may have as "
            f"many as it leaves free. Try again in {RETRY_AFTER_SECONDS:g} s, or delete results that nobody needs",
            retry_after=RETRY_AFTER_SECONDS,
            waiting_jobs=self.waiting,
            client_jobs=own,
            limit=self._max_waiting,
            waiting_bytes=self.waiting_bytes,
        )

    def _refusal(self, ticket: Ticket) -> TooLargeError | BusyError:
        """Return the error of a ticket that does not fit beside the residents."""
        arena, keep = self._arena, ticket.keep
        kept = sum(map(arena.aligned, keep.sizes)) if keep else 0
        if (
            keep
            and arena.fits_when_idle(ticket.minimum)
            and kept <= min(arena.size - keep.floor, arena.size - ticket.minimum)
        ):
            return BusyError(
                f"resident arrays hold {format_bytes(arena.resident)}, and there is no room between them for the "
                f"{format_bytes(kept)} that the job keeps; delete arrays, or try again when some have expired",
                retry_after=RETRY_AFTER_SECONDS,
                needed_bytes=kept,
                resident_bytes=arena.resident,
            )
        beside = f" and {format_bytes(kept)} for what it keeps" if kept else ""
        held = f", of which resident arrays hold {format_bytes(arena.resident)}" if arena.resident else ""
        largest = format_bytes(arena.largest_when_idle)
        return TooLargeError(
            f"the job needs {format_bytes(ticket.minimum)}{beside} of memory in one piece, but the server's arena has "
            f"{format_bytes(arena.size)}{held} (largest piece: {largest}); delete resident arrays, split the job, or "
            f"start the server with a larger --arena",
            needed_bytes=ticket.minimum + kept,
            available_bytes=arena.largest_when_idle,
            arena_bytes=arena.size,
            resident_bytes=arena.resident,
        )


def _order(ticket: Ticket) -> tuple[int, int]:
    return ticket.tag, ticket.number
