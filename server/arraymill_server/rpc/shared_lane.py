"""One job's way through memory that its client shares with the server.

The job's workspace lies in the client's staging memory: the client puts what is wanted straight where blocks are
computed, and copies results from there. Nobody else's bytes lie there, and what the client does to its own while a job
runs can spoil its own results alone.
"""

from __future__ import annotations

from typing import Protocol

from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc.memory_session import Session
from arraymill_server.rpc.shared import StagingLease


class NeedsRunError(Exception):
    """Shared memory is the only way of a job's inputs, and is not there: its client has to send it on Run."""


class LaneOwner(Protocol):
    """The exchange whose ranges travel here. No method blocks."""

    def shared_filled(self, want: int) -> None:
        """The client has put there what was wanted."""
        ...

    def moved(self, nbytes: int) -> None:
        """The client has copied some bytes of a result."""
        ...

    def sent(self, outgoing: Outgoing, token: int) -> None:
        """A range of a result has been copied."""
        ...

    def shared_failed(self, error: Exception) -> None:
        """The client says what it must not."""
        ...

    def shared_lost(self, unsent: list[tuple[Outgoing, int]]) -> None:
        """The session has ended; what was offered may not have been copied."""
        ...


class SharedLane:
    """A `Room` for one job, and a `SharedJob` of its client's session.

    Args:
        session: The client's.
        number: Of the job within the session, chosen by the client; 0: it is given one.
        is_only_way: Whether inputs can come in no other way: then a job without a workspace here does not begin.
    """

    def __init__(self, session: Session, number: int = 0, *, is_only_way: bool = False) -> None:
        self._session = session
        self._chosen = number
        self._is_only_way = is_only_way
        self._owner: LaneOwner | None = None
        self._offered: dict[int, tuple[Outgoing, int]] = {}
        self._unfilled: set[int] = set()
        """Wants that the client has not answered."""
        self._last_range = 0
        self._lease: StagingLease | None = None
        self.number = 0
        """Of the job within the session; 0 before it runs here, and when the session has ended."""

    def __repr__(self) -> str:
        return f"<SharedLane {'open' if self.is_open else 'closed'}: {len(self._offered)} results offered>"

    @property
    def is_open(self) -> bool:
        """Whether ranges can travel here."""
        return self.number > 0

    @property
    def is_sending(self) -> bool:
        """Whether the client has results to copy."""
        return bool(self._offered)

    # ------------------------------------------------------------------ Room

    def lease(self, least: int, most: int, owner: str) -> StagingLease | None:
        """Lease a workspace in the client's memory, if there is one now.

        Raises:
            NeedsRunError: There is none, and inputs can come in no other way.
        """
        self._lease = self._session.staging.lease(least, most, owner) if self._session.is_open else None
        if self._lease is None and self._is_only_way:
            raise NeedsRunError
        return self._lease

    # ------------------------------------------------------------------ exchange

    def begin(self, owner: LaneOwner) -> None:
        """Let the ranges of a job travel here, if its workspace lies here."""
        if self._lease is not None and self._session.is_open:
            self._owner = owner
            self.number = self._session.enter(self, self._chosen)

    def fill(self, want: int, wanted: Wanted, address: int) -> None:
        """Ask for a range of an input."""
        self._unfilled.add(want)
        self._session.fill(self.number, want, wanted, address)

    def take(self, outgoing: Outgoing, token: int) -> None:
        """Offer a range of a result; `LaneOwner.sent` when it has been copied."""
        self._last_range += 1
        self._offered[self._last_range] = outgoing, token
        self._session.take(self.number, self._last_range, outgoing)

    def close(self) -> None:
        """Let nothing travel here any more. Safe to call twice.

        What the client has not answered it may still carry out, and write to the workspace: it stays until the client
        says that it does not.
        """
        if self._lease is not None and self._session.is_open and (self._unfilled or self._offered):
            self._lease.hold()
            self._session.end_job(self.number, self._lease.release)
        else:
            self._session.leave(self.number)
        self._owner, self.number = None, 0
        self._unfilled.clear()
        self._offered.clear()

    # ------------------------------------------------------------------ SharedJob

    def filled(self, want: int) -> None:
        self._unfilled.discard(want)
        if self._owner is not None:
            self._owner.shared_filled(want)

    def taken(self, number: int) -> None:
        offered = self._offered.pop(number, None)
        if offered is not None and self._owner is not None:
            self._owner.moved(len(offered[0].data))
            self._owner.sent(*offered)

    def session_failed(self, error: Exception) -> None:
        if self._owner is not None:
            self._owner.shared_failed(error)

    def session_lost(self) -> None:
        owner, unsent = self._owner, list(self._offered.values())
        self.close()
        if owner is not None:
            owner.shared_lost(unsent)
