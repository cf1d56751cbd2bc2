"""The arrays that one job leaves behind: claimed, placed, committed and given up together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from arraymill_server.jobs.residents import Pending, ResidentArray, Residents
from arraymill_server.plan.model import ResultSpec


class PendingGroup:
    """Arrays to be, by the node of the graph that gives their value. A `line.Keep`."""

    def __init__(self, residents: Residents, arrays: Mapping[int, Pending]) -> None:
        self._residents = residents
        self._arrays = arrays

    def __repr__(self) -> str:
        return f"<PendingGroup of {len(self._arrays)} arrays, {sum(self.sizes):,} bytes>"

    @classmethod
    def reserve(cls, residents: Residents, results: Iterable[ResultSpec], name: str, ttl: float | None) -> Self:
        """Claim a share of the budget for each result, and a name for a single one.

        Raises:
            ArraymillError: As of `Residents.reserve`; then nothing is claimed.
        """
        arrays: dict[int, Pending] = {}
        try:
            for result in results:
                if result.node not in arrays:
                    arrays[result.node] = residents.reserve(result.type, result.order, name, ttl)
        except BaseException:
            cls(residents, arrays).abort()
            raise
        return cls(residents, arrays)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each array."""
        return tuple(pending.size for pending in self._arrays.values())

    @property
    def floor(self) -> int:
        """Lowest offset at which one may lie."""
        return next(iter(self._arrays.values())).floor

    @property
    def addresses(self) -> dict[int, int]:
        """Where each array lies, once they are placed."""
        return {node: pending.lease.offset for node, pending in self._arrays.items()}

    def place(self) -> bool:
        """Lease the memory of all arrays; False when there is none now."""
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
