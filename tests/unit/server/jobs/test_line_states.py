"""A state machine over arena, waiting line and registry: what holds whatever happens in whatever order.

No overlap, everything comes back, no deadlock, nobody is passed more often than the bound, no resident leaves its part.
"""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arraymill_proto.errors import BusyError, TooLargeError
from arraymill_proto.graph import ArrayType
from arraymill_server.arena.arena import Arena
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.jobs.claim import Pending
from arraymill_server.jobs.line import Line
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.shares import SHARE
from arraymill_server.jobs.ticket import Ticket


class LineMachine(RuleBasedStateMachine):
    """Any order of joining, ending, giving up, keeping and deleting; arena, line and registry together."""

    PAGES, MAX_WAITING, MAX_OVERTAKES, CLIENTS = 16, 6, 1, "abc"
    SIZES = (1, 1, 2, 3, 5, 10, 12, 16)

    def __init__(self) -> None:
        super().__init__()
        self.arena = Arena((ctypes.c_ubyte * (self.PAGES * PAGE))())
        self.line = Line(self.arena, self.MAX_WAITING, max_overtakes=self.MAX_OVERTAKES)
        self.registry = Residents(self.arena, self.PAGES // 2 * PAGE, 60)
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []
        self.arrays: list[ResidentArray] = []
        self.later: dict[Ticket, int] = {}
        self.behind: dict[Ticket, int] = {}
        self.arena.on_release(self.serve)

    def serve(self) -> None:
        for ticket in self.line.serve():
            self.waiting.remove(ticket)
            assert (ticket.lease is None) is not (ticket.error is None)
            if ticket.error is not None:
                assert not self.could_ever_fit(ticket)
                self.give_up_keeping(ticket)
                continue
            self.running.append(ticket)
            for other in (other for other in self.waiting if not other.is_patient):
                self.later[other] = self.later.get(other, 0) + (other.number < ticket.number)
                is_behind = (other.tag, other.number) < (ticket.tag, ticket.number)
                self.behind[other] = self.behind.get(other, 0) + is_behind

    def could_ever_fit(self, ticket: Ticket) -> bool:
        if ticket.is_patient and ticket.keep is not None:
            return sum(ticket.keep.sizes) + max(ticket.minimum, PAGE) <= self.arena.size
        return self.fits_beside(ticket)

    def fits_beside(self, ticket: Ticket) -> bool:
        if ticket.keep is None:
            return self.arena.fits_when_idle(ticket.minimum)
        return self.arena.fits_when_idle(ticket.minimum, keep=ticket.keep.sizes, floor=ticket.keep.floor)

    def give_up_keeping(self, ticket: Ticket) -> None:
        if isinstance(ticket.keep, Pending):
            self.registry.abort(ticket.keep)

    def has_share(self, ticket: Ticket) -> bool:
        """Whether a client may keep so much more: it has been given no more than some times what would be left."""
        if not ticket.is_patient or not isinstance(ticket.keep, Pending):
            return True
        free = self.registry.budget_bytes - self.registry.used_bytes - ticket.keep.size
        return self.kept_by(ticket.client) <= SHARE * free

    def kept_by(self, client: str) -> int:
        running = [ticket.keep.size for ticket in self.running if isinstance(ticket.keep, Pending)]
        owners = [ticket.client for ticket in self.running if isinstance(ticket.keep, Pending)]
        sizes = [*zip(owners, running, strict=True), *((array.client, array.lease.size) for array in self.arrays)]
        return sum(size for owner, size in sizes if owner == client)

    def reserve(self, pages: int, client: str, is_patient: bool) -> Pending | None:
        type = ArrayType((pages * PAGE,), np.dtype("u1"))
        claims = sum(pending.size for pending in self.claims() if pending.client == client)
        free = self.registry.budget_bytes - self.registry.used_bytes - type.nbytes
        if is_patient or (free >= 0 and self.kept_by(client) + claims <= SHARE * (free - claims)):
            return self.registry.reserve(type, (0,), client=client, is_patient=is_patient)
        with pytest.raises(BusyError):
            self.registry.reserve(type, (0,), client=client)
        return None

    def claims(self) -> list[Pending]:
        """What waits for its memory, and not for its share."""
        keeps = [ticket.keep for ticket in self.waiting if isinstance(ticket.keep, Pending)]
        return [pending for pending in keeps if not pending.is_patient]

    @rule(
        pages=st.sampled_from(SIZES),
        more=st.integers(0, 8),
        client=st.sampled_from(CLIENTS),
        keep=st.sampled_from((0, 0, 0, 2, 6)),
        is_patient=st.booleans(),
    )
    def join(self, pages: int, more: int, client: str, keep: int, is_patient: bool) -> None:
        pending = self.reserve(keep, client, is_patient) if keep else None
        ticket = Ticket(pages * PAGE, (pages + more) * PAGE, "job", client, pending)
        fits = self.could_ever_fit(ticket)
        try:
            self.line.join(ticket)
        except TooLargeError:
            assert not fits
            self.give_up_keeping(ticket)
        except BusyError:
            own = sum(other.client == client for other in self.waiting)
            free = self.MAX_WAITING - len(self.waiting)
            assert not fits or not free or own > free
            self.give_up_keeping(ticket)
        else:
            assert fits
            self.waiting.append(ticket)
            self.serve()

    @precondition(lambda self: bool(self.running))
    @rule(data=st.data(), succeeds=st.booleans())
    def end(self, data: st.DataObject, succeeds: bool) -> None:
        ticket = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.line.leave(ticket)
        if isinstance(ticket.keep, Pending) and succeeds:
            self.arrays.append(self.registry.commit(ticket.keep))
        self.give_up_keeping(ticket)

    @precondition(lambda self: bool(self.waiting))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        may_serve, left = self.line.leave(ticket), len(self.waiting)
        self.serve()
        assert may_serve or len(self.waiting) == left, "somebody stood behind it, and was not served"
        self.give_up_keeping(ticket)

    @precondition(lambda self: bool(self.arrays))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.registry.delete(self.arrays.pop(data.draw(st.integers(0, len(self.arrays) - 1))).id)

    @invariant()
    def memory_is_sound(self) -> None:
        self.arena.check()
        spans = sorted((lease.offset, lease.end) for lease in self.arena.leases)
        assert all(offset % PAGE == end % PAGE == 0 for offset, end in spans)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
        kept = {ticket.keep.lease for ticket in self.running if isinstance(ticket.keep, Pending)}
        held = {ticket.lease for ticket in self.running} | kept | {array.lease for array in self.arrays}
        assert held == set(self.arena.leases), "somebody else holds memory, or a lease was lost"

    @invariant()
    def residents_stay_in_their_part(self) -> None:
        assert all(lease.offset >= self.arena.size // 2 for lease in self.arena.leases if lease.is_resident)
        pending = sum(sum(ticket.keep.sizes) for ticket in self.running if ticket.keep)
        assert self.registry.used_bytes == pending + sum(array.lease.size for array in self.arrays)
        assert self.registry.used_bytes <= self.registry.budget_bytes

    @invariant()
    def portions_are_within_bounds(self) -> None:
        for ticket in self.running:
            assert ticket.lease is not None
            assert ticket.minimum <= ticket.lease.size <= max(ticket.wanted, PAGE)

    @invariant()
    def counts_agree(self) -> None:
        assert self.line.running == len(self.running)
        assert self.line.waiting == len(self.waiting)
        assert self.line.waiting_bytes == sum(ticket.minimum for ticket in self.waiting)
        assert sorted(self.line.position(ticket) or 0 for ticket in self.waiting) == list(range(len(self.waiting)))

    @invariant()
    def nobody_waits_while_nothing_runs(self) -> None:
        """But the patient, while residents are in their way."""
        able = filter(self.has_share, self.waiting)
        assert self.running or not any(map(self.fits_beside, able)), "deadlock"
        assert self.running or all(ticket.is_patient for ticket in self.waiting), "deadlock"

    @invariant()
    def nobody_starves(self) -> None:
        assert all(count <= self.MAX_OVERTAKES for count in self.behind.values())
        # All jobs cost the same here, so each client's turns before a ticket are as many as could wait before it.
        bound = len(self.CLIENTS) * self.MAX_WAITING + self.MAX_OVERTAKES
        assert all(count <= bound for count in self.later.values())

    def teardown(self) -> None:
        while self.running:
            ticket = self.running.pop(0)
            self.line.leave(ticket)
            self.give_up_keeping(ticket)
        for array in self.arrays:
            self.registry.delete(array.id)
        while self.running:
            ticket = self.running.pop(0)
            self.line.leave(ticket)
            self.give_up_keeping(ticket)
        assert not self.waiting
        assert self.registry.used_bytes == 0
        assert self.arena.free == self.arena.largest_free == self.arena.size


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
