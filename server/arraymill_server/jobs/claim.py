"""What a resident array claims before it is there: a name, then memory."""

from __future__ import annotations

from dataclasses import dataclass

from arraymill_proto.graph import ArrayType, Order
from arraymill_server.arena.arena import Arena, Lease


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

    def place(self) -> bool:
        self.placed = self.arena.lease(self.size, f"array {self.name or self.id}", top=True, floor=self.floor)
        return self.placed is not None

    def unplace(self) -> None:
        lease, self.placed = self.lease, None
        lease.release()
