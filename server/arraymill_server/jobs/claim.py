"""What a resident array claims before it is there: a name, then memory."""

from __future__ import annotations

from dataclasses import dataclass

from arraymill_proto.graph import ArrayType, Order
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.jobs.shares import Shares


@dataclass(slots=True, eq=False)
class Pending:
    """An array to be: its name is claimed. A `ticket.Keep`."""

    id: str
    name: str
    type: ArrayType
    order: Order
    ttl: float
    """Seconds."""
    size: int
    """Bytes that it takes of the arena: whole pages."""
    floor: int
    """Lowest offset at which it may lie."""
    arena: Arena
    shares: Shares
    client: str
    """Whose budget it takes; empty: nobody's."""
    is_patient: bool = False
    """Whether its job waits until other arrays leave room."""
    placed: Lease | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.size,)

    @property
    def lease(self) -> Lease:
        """The memory, once admission has placed it."""
        assert self.placed is not None, f"array {self.id} has no memory yet: pass it to admission as keep="
        return self.placed

    @property
    def has_share(self) -> bool:
        return not self.is_patient or self.shares.may_place(self.client, self.size)

    def claim(self) -> None:
        """Count it from now on, if it does not wait for its share."""
        if not self.is_patient:
            self.shares.claim(self.client, self.size)

    def unclaim(self) -> None:
        """Count it no more."""
        if not self.is_patient:
            self.shares.claim(self.client, -self.size)

    def place(self) -> bool:
        lease = self.arena.lease(self.size, f"array {self.name or self.id}", top=True, floor=self.floor)
        if lease is not None:
            self.take(lease)
        return lease is not None

    def take(self, lease: Lease) -> None:
        """Have memory that somebody else has leased for it."""
        self.placed = lease
        self.unclaim()
        self.shares.place(self.client, self.size)

    def unplace(self) -> None:
        lease, self.placed = self.lease, None
        self.shares.place(self.client, -self.size)
        self.claim()
        lease.release()
