"""Who holds how much of a budget of bytes: a client may hold seven times what it leaves free.

So one client alone fills seven eighths of the budget, two of them seven fifteenths each, and whoever comes next finds
room; the first array of a client may have all that is free. No limit per client needs to be chosen. The places of calls
and of the waiting line are given out by the same rule, there with as much as is left free: they come back in seconds,
while arrays lie for hours, and the memory that is kept for others stands idle as long.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from arraymill_proto.errors import BusyError
from arraymill_server.quantities import format_bytes

SHARE: Final = 7
"""What a client may hold, in parts of what it leaves free."""


class Shares:
    """A budget in the hands of clients. What is claimed will be placed, and counts against its client alone.

    Args:
        budget_bytes: What there is.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._claimed: Counter[str] = Counter()
        self._placed: Counter[str] = Counter()
        self._held = 0

    def __repr__(self) -> str:
        return f"<Shares of {len(self._placed)} clients: {self._held:,} of {self._budget:,} bytes>"

    def may_claim(self, client: str, nbytes: int) -> bool:
        """Tell whether there are some bytes more, and a client may have them beside all that it has claimed."""
        free = self._budget - self._held - nbytes
        return free >= 0 and (not client or self._own(client) <= SHARE * (free - self._claimed[client]))

    def may_place(self, client: str, nbytes: int) -> bool:
        """Tell whether a client may have some bytes more now, if they are free."""
        return not client or self._placed[client] <= SHARE * (self._budget - self._held - nbytes)

    def claim(self, client: str, nbytes: int) -> None:
        """Count bytes that a client is going to have; negative when it gives that up."""
        _add(self._claimed, client, nbytes)

    def place(self, client: str, nbytes: int) -> None:
        """Count bytes that a client has; negative when it gives them back."""
        _add(self._placed, client, nbytes)
        self._held += nbytes

    def refusal(self, client: str, nbytes: int, retry_after: float) -> BusyError:
        """Return the error of a client for which there is no room.

        Args:
            client: Who it is.
            nbytes: Of the array that it would keep.
            retry_after: Seconds that it is told to wait.
        """
        own, free = self._own(client), self._budget - self._held
        return BusyError(
            f"the array takes {format_bytes(nbytes)}, but resident arrays hold {format_bytes(self._held)} of the "
            f"{format_bytes(self._budget)} that they may, {format_bytes(own)} of this client, which may "
            f"hold {SHARE} times what it leaves free; delete arrays or let them expire sooner (ttl), or raise "
            "--resident-budget",
            retry_after=retry_after,
            needed_bytes=nbytes,
            client_bytes=own,
            free_bytes=free,
            used_bytes=self._held,
            budget_bytes=self._budget,
        )

    def _own(self, client: str) -> int:
        return self._placed[client] + self._claimed[client]


def _add(counts: Counter[str], client: str, nbytes: int) -> None:
    counts[client] += nbytes
    if not counts[client]:
        del counts[client]
