"""Resident arrays: what clients keep on the server, under a budget, with names and a time to live.

Theory of operation. An array is made in two steps. `reserve` claims the name, without any memory; admission places the
memory together with the job's workspace (see `ticket.Keep`), so that no job waits while it holds memory. When every
byte is written the job calls `commit`, else `abort`. Arrays lie in the highest part of the arena, as large as the
budget: that part is the budget. A job that fits below it always runs, whatever is resident.

What finds no room there is refused, and its client told to try again; what a submitted job will leave is patient and
waits for room (see `line`). A client may hold seven times what it leaves free (`shares`): for more there is no room.

An array ends by `delete` or when it was not used for its time to live. A job *pins* what it reads: a pinned array does
not expire, and one that is deleted leaves the registry at once but gives its memory back with its last pin.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from time import monotonic
from typing import Final

from arraymill_proto.errors import ArrayExistsError, ArrayNotFoundError, ParameterError, TooLargeError
from arraymill_proto.graph import ArrayType, Order
from arraymill_proto.identity import check_name
from arraymill_proto.limits import MAX_NAME_CHARS
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.config import MAX_TTL_SECONDS
from arraymill_server.jobs.claim import Pending
from arraymill_server.jobs.shares import Shares
from arraymill_server.quantities import format_bytes

DEFAULT_PAGE: Final = 100
"""Arrays in a page when the client does not say."""

MAX_PAGE: Final = 1000
"""Most arrays in a page: about 200 bytes each stay far below the largest message."""

LEAST_RETRY_SECONDS: Final = 1.0
MOST_RETRY_SECONDS: Final = 60.0
"""Bounds of what a client is told to wait for room: until the next array may expire."""

IDLE_DEADLINES: Final = 64
"""Deadlines of deleted arrays that may pile up, so that looking through all of them is rare."""


@dataclass(slots=True, eq=False)
class ResidentArray:
    """An array that stays."""

    id: str
    name: str
    """Empty: nameless."""
    type: ArrayType
    order: Order
    """The axes as they lie in memory, slowest first."""
    lease: Lease
    ttl: float
    """Seconds after the last use until it is deleted."""
    number: int
    """Order of creation."""
    created: float
    """On the registry's clock."""
    last_used: float
    client: str = ""
    """Who has made it."""
    pins: int = 0
    """Jobs that read it."""
    is_deleted: bool = False

    @property
    def expires(self) -> float:
        """When it is deleted unless used before; never while pinned."""
        return math.inf if self.pins else self.last_used + self.ttl


class Residents:
    """The registry.

    Args:
        arena: Where the arrays lie.
        budget_bytes: Bytes of the arena that they may hold together.
        default_ttl_seconds: Time to live where the client gives none.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, arena: Arena, budget_bytes: int, default_ttl_seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._arena = arena
        self.budget_bytes: Final = budget_bytes
        self.shares: Final = Shares(budget_bytes)
        self._default_ttl = default_ttl_seconds
        self._clock = clock
        self._arrays: dict[str, ResidentArray] = {}
        self._names: dict[str, str] = {}
        self._pending: dict[str, Pending] = {}
        self._deadlines: list[tuple[float, str]] = []
        """Heap of (no earlier than, id). An entry may be early, because uses move the real deadline; never late."""
        self._made = 0
        self.on_commit: Callable[[], None] | None = None
        """Called when an array was made: `next_expiry` may have changed."""
        self.on_delete: Callable[[ResidentArray], None] = lambda array: None
        """Called when an array was deleted, or has expired."""

    def __repr__(self) -> str:
        return (
            f"<Residents {len(self._arrays)} arrays, {len(self._pending)} pending: "
            f"{format_bytes(self.used_bytes)} of {format_bytes(self.budget_bytes)}>"
        )

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def used_bytes(self) -> int:
        """Bytes of the budget in use: arrays, arrays to be that have memory, and deleted ones that are still read."""
        return self._arena.resident

    def check_total(self, types: Collection[ArrayType]) -> None:
        """Check that arrays could be there together.

        Raises:
            TooLargeError: They are larger than the budget.
        """
        size = sum(self._arena.aligned(type.nbytes) for type in types)
        if size > self.budget_bytes:
            takes = "the array takes" if len(types) == 1 else f"the {len(types)} arrays take"
            raise TooLargeError(
                f"{takes} {format_bytes(size)}, but all resident arrays together may hold "
                f"{format_bytes(self.budget_bytes)}; start the server with a larger --resident-budget",
                needed_bytes=size,
                budget_bytes=self.budget_bytes,
            )

    def reserve(
        self,
        type: ArrayType,
        order: Order,
        name: str = "",
        ttl: float | None = None,
        *,
        client: str = "",
        is_patient: bool = False,
    ) -> Pending:
        """Claim a name for an array to be, and check that there is room for it. End it with `commit` or `abort`.

        Args:
            type: Shape and dtype.
            order: The axes as they will lie in memory, slowest first.
            name: Empty: nameless.
            ttl: Seconds; None or 0: the server's default.
            client: Whose share it takes; empty: nobody's.
            is_patient: Its job waits until there is room.

        Raises:
            ParameterError: The name or the time to live is not valid.
            ArrayExistsError: The name is taken.
            TooLargeError: The array is larger than the budget.
            BusyError: There is no room now, or the client holds its share, and it is not patient.
        """
        check_name(name)
        ttl = ttl or self._default_ttl
        _check_ttl(ttl)
        if name in self._names:
            raise ArrayExistsError(f"an array of the name {name!r} exists; delete it or choose another name", name=name)
        size = self._arena.aligned(type.nbytes)
        if size > self.budget_bytes:
            self.check_total((type,))
        if not is_patient and not self.shares.may_claim(client, size):
            raise self.shares.refusal(client, size, self._retry_seconds())
        id = secrets.token_hex(16)
        floor = self._arena.size - self.budget_bytes
        pending = Pending(id, name, type, order, ttl, size, floor, self._arena, self.shares, client, is_patient)
        pending.claim()
        self._pending[id] = pending
        if name:
            self._names[name] = id
        return pending

    def commit(self, pending: Pending) -> ResidentArray:
        """Make the array visible; every byte of it must have been written."""
        lease = pending.lease
        del self._pending[pending.id]
        now = self._clock()
        self._made += 1
        array = self._arrays[pending.id] = ResidentArray(
            id=pending.id,
            name=pending.name,
            type=pending.type,
            order=pending.order,
            lease=lease,
            ttl=pending.ttl,
            number=self._made,
            created=now,
            last_used=now,
            client=pending.client,
        )
        if len(self._deadlines) > 2 * len(self._arrays) + IDLE_DEADLINES:  # most are of arrays that were deleted
            self._deadlines = sorted(entry for entry in self._deadlines if entry[1] in self._arrays)
        heappush(self._deadlines, (array.expires, array.id))
        if self.on_commit is not None:
            self.on_commit()
        return array

    def abort(self, pending: Pending) -> None:
        """Give up what `reserve` claimed and what admission placed; does nothing after `commit` or `abort`."""
        if self._pending.pop(pending.id, None) is None:
            return
        self._names.pop(pending.name, None)
        if pending.placed is not None:
            pending.unplace()
        pending.unclaim()

    def get(self, id_or_name: str) -> ResidentArray:
        """Return an array and count this as a use.

        Raises:
            ArrayNotFoundError: There is none.
        """
        array = self._arrays.get(id_or_name) or self._arrays.get(self._names.get(id_or_name, ""))
        if array is None:
            raise ArrayNotFoundError(
                f"no resident array {_shown(id_or_name)}: never made, deleted, or not used for its time to live",
                array=_shown(id_or_name),
            )
        array.last_used = self._clock()
        return array

    def pin(self, id_or_name: str) -> ResidentArray:
        """Return an array whose memory stays until `unpin`.

        Raises:
            ArrayNotFoundError: There is none.
        """
        array = self.get(id_or_name)
        array.pins += 1
        return array

    def unpin(self, array: ResidentArray) -> None:
        """End one pin; this counts as a use."""
        assert array.pins > 0, f"array {array.id} is not pinned"
        array.pins -= 1
        array.last_used = self._clock()
        self._free_if_over(array)

    def delete(self, id_or_name: str) -> None:
        """Delete an array; jobs that read it end undisturbed.

        Raises:
            ArrayNotFoundError: There is none.
        """
        self._forget(self.get(id_or_name))

    def delete_all(self, arrays: Iterable[ResidentArray]) -> None:
        """Delete those of some arrays that are still there."""
        with self._arena.together():
            for array in arrays:
                if not array.is_deleted:
                    self._forget(array)

    def page(self, size: int = 0, token: str = "") -> tuple[tuple[ResidentArray, ...], str]:
        """Return a page of arrays, oldest first, and the token of the next page (empty after the last).

        Args:
            size: Arrays; 0: 100; at most 1,000.
            token: From the page before; empty: the first page.

        Raises:
            ParameterError: The token is none of ours, or the size is negative.
        """
        if size < 0:
            raise ParameterError(f"page_size is {size}, below 0")
        size = min(size or DEFAULT_PAGE, MAX_PAGE)
        last = _token_number(token)
        found = tuple(islice((array for array in self._arrays.values() if array.number > last), size + 1))
        page = found[:size]
        return page, f"{page[-1].number:x}" if len(found) > size else ""

    def expire(self, now: float) -> int:
        """Delete the arrays that were not used for their time to live; return how many there were."""
        expired: list[ResidentArray] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            array = self._arrays.get(heappop(self._deadlines)[1])
            if array is not None and array.expires <= now:
                expired.append(array)
            elif array is not None:  # used since, or pinned: it cannot expire before a whole time to live from now
                heappush(self._deadlines, (min(array.expires, now + array.ttl), array.id))
        self.delete_all(expired)
        return len(expired)

    def next_expiry(self) -> float | None:
        """Return when `expire` should run next: nothing expires before. None: nothing is resident."""
        while self._deadlines and self._deadlines[0][1] not in self._arrays:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def age_seconds(self, array: ResidentArray) -> float:
        """Return the seconds since an array was made."""
        return self._clock() - array.created

    def expires_in_seconds(self, array: ResidentArray) -> float:
        """Return the seconds until an array is deleted unless used; a pinned one is in use."""
        return array.ttl if array.pins else max(array.expires - self._clock(), 0.0)

    def _retry_seconds(self) -> float:
        expiry = self.next_expiry()
        wait = LEAST_RETRY_SECONDS if expiry is None else expiry - self._clock()
        return min(max(wait, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS)

    def _forget(self, array: ResidentArray) -> None:
        del self._arrays[array.id]
        self._names.pop(array.name, None)
        array.is_deleted = True
        self._free_if_over(array)
        self.on_delete(array)

    def _free_if_over(self, array: ResidentArray) -> None:
        if array.is_deleted and not array.pins:
            self.shares.place(array.client, -array.lease.size)
            array.lease.release()


def _check_ttl(ttl: float) -> None:
    if not 0 < ttl <= MAX_TTL_SECONDS:
        raise ParameterError(f"ttl_seconds is {ttl:g}, not above 0 and at most {MAX_TTL_SECONDS:,}")


def _token_number(token: str) -> int:
    if token and not re.fullmatch(r"[0-9a-f]{1,16}", token):
        raise ParameterError(f"page_token {_shown(token)} is none that this server gave")
    return int(token or "0", 16)


def _shown(text: str) -> str:
    """Quote text that a client sent, cut to a sane length."""
    return repr(text if len(text) <= MAX_NAME_CHARS else f"{text[:MAX_NAME_CHARS]}…")
