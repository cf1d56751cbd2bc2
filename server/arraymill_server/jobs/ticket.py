"""A job's place in the waiting line for memory, and what it is worth there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from arraymill_proto.errors import ArraymillError
from arraymill_proto.limits import DEFAULT_PRIORITY, MAX_PRIORITY
from arraymill_server.arena.arena import Lease
from arraymill_server.quantities import MIB

LEAST_COST: Final = MIB // 4
"""Bytes that a job counts at least in the order of turns: a job of 1 KiB costs a dispatch all the same."""


class Keep(Protocol):
    """Resident memory that a job takes together with its workspace."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each piece."""
        ...

    @property
    def floor(self) -> int:
        """Lowest offset at which it may lie."""
        ...

    @property
    def is_patient(self) -> bool:
        """Whether the job waits until residents leave room."""
        ...

    @property
    def has_share(self) -> bool:
        """Whether its client may hold so much now."""
        ...

    def place(self) -> bool:
        """Lease the memory; False when there is none now."""
        ...

    def unplace(self) -> None:
        """Give the memory back, as if `place` had not been called."""
        ...


@dataclass(slots=True, eq=False)
class Ticket:
    """One job's place in the line. It ends with a lease or with an error."""

    minimum: int
    """Bytes with which the job can always make progress."""
    wanted: int
    """Bytes that it can make use of; less than the minimum means the minimum."""
    owner: str
    """The job, for messages; no other that waits has the same."""
    client: str
    """Whose turn it takes."""
    keep: Keep | None = None
    """Resident memory that it needs as well."""
    priority: int = DEFAULT_PRIORITY
    """0 to 9."""
    number: int = field(default=0, init=False)
    """Order of arrival."""
    tag: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)
    """How often a ticket behind it was served first."""
    is_waiting: bool = field(default=False, init=False)
    kept_bytes: int = field(init=False)
    """Of all extents that it keeps."""
    largest_piece: int = field(init=False)
    """Bytes of the largest one; -1: none."""
    lease: Lease | None = field(default=None, init=False)
    error: ArraymillError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Look once at what it keeps: that may be thousands of extents."""
        sizes = self.keep.sizes if self.keep else ()
        self.kept_bytes, self.largest_piece = sum(sizes), max(sizes, default=-1)

    @property
    def flow(self) -> tuple[str, int]:
        """Among which it keeps its order."""
        return self.client, self.priority

    @property
    def is_patient(self) -> bool:
        """Whether it waits until residents leave room."""
        return self.keep is not None and self.keep.is_patient

    @property
    def has_share(self) -> bool:
        """Whether what it keeps is within its client's share of resident memory now."""
        return self.keep is None or self.keep.has_share

    @property
    def needed_bytes(self) -> int:
        """Bytes without which it is not served."""
        return self.minimum + self.kept_bytes

    @property
    def cost(self) -> int:
        """Bytes that it counts in the order of turns."""
        nbytes = max(max(self.minimum, self.wanted) + self.kept_bytes, LEAST_COST)
        return (nbytes << MAX_PRIORITY - self.priority) >> MAX_PRIORITY - DEFAULT_PRIORITY
