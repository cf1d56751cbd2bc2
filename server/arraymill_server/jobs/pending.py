"""The arrays that one job leaves behind: claimed, placed, committed and given up together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Self

from arraymill_server.jobs.claim import Pending
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.plan.model import ResultSpec


class PendingGroup:
    """Arrays to be, by the node of the graph that gives their value. A `ticket.Keep`."""

    def __init__(self, residents: Residents, arrays: Mapping[int, Pending], client: str = "") -> None:
        self._residents = residents
        self._arrays = arrays
        self._client = client
        self.sizes: Final = tuple(pending.size for pending in arrays.values())
        """Bytes of each array."""
        self._nbytes = sum(self.sizes)
        self.is_patient: Final = any(pending.is_patient for pending in arrays.values())
        """Whether it waits until other arrays leave room."""

    def __repr__(self) -> str:
        return f"<PendingGroup of {len(self._arrays)} arrays, {self._nbytes:,} bytes>"

    @classmethod
    def reserve(
        cls,
        residents: Residents,
        results: Iterable[ResultSpec],
        name: str,
        ttl: float | None,
        *,
        client: str = "",
        is_patient: bool = False,
    ) -> Self:
        """Reserve each result, with a name for a single one; see `Residents.reserve`.

        Raises:
            ArraymillError: As of `Residents.reserve`; then nothing is claimed.
        """
        arrays: dict[int, Pending] = {}
        distinct = {result.node: result for result in results}
        residents.check_total([result.type for result in distinct.values()])
        try:
            for node, result in distinct.items():
                arrays[node] = residents.reserve(
                    result.type, result.order, name, ttl, client=client, is_patient=is_patient
                )
        except BaseException:
            cls(residents, arrays).abort()
            raise
        return cls(residents, arrays, client)

    @property
    def has_share(self) -> bool:
        """Whether its client may hold all of it now; True for what does not wait, since it was asked before."""
        return not self.is_patient or self._residents.shares.may_place(self._client, self._nbytes)

    @property
    def floor(self) -> int:
        """Lowest offset at which one may lie."""
        return next(iter(self._arrays.values())).floor

    @property
    def addresses(self) -> dict[int, int]:
        """Where each array lies, once they are placed."""
        return {node: pending.lease.offset for node, pending in self._arrays.items()}

    def place(self) -> bool:
        """Lease the memory of all arrays, in one piece if that can be; False when there is none now."""
        if len(self._arrays) == 1:
            return self._place_each()
        first = next(iter(self._arrays.values()))
        whole = first.arena.lease(self._nbytes, f"{len(self._arrays)} arrays", top=True, floor=first.floor)
        if whole is None:
            return self._place_each()
        parts = first.arena.split(whole, self.sizes)
        for pending, part in zip(self._arrays.values(), parts, strict=True):
            pending.take(part)
        return True

    def _place_each(self) -> bool:
        placed: list[Pending] = []
        for pending in self._arrays.values():
            if not pending.place():
                for other in placed:
                    other.unplace()
                return False
            placed.append(pending)
        return True

    def unplace(self) -> None:
        """Give the memory back, as if `place` had not been called."""
        for pending in self._arrays.values():
            pending.unplace()

    def commit(self) -> dict[int, ResidentArray]:
        """Make the arrays visible; every byte of them must have been written."""
        return {node: self._residents.commit(pending) for node, pending in self._arrays.items()}

    def abort(self) -> None:
        """Give up what was claimed and placed; does nothing after `commit` or `abort`."""
        for pending in self._arrays.values():
            self._residents.abort(pending)
