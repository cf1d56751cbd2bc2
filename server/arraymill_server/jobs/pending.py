"""The arrays that one job leaves behind: claimed, placed, committed and given up together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from arraymill_server.jobs.claim import Pending
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.plan.model import ResultSpec


class PendingGroup:
    """Arrays to be, by the node of the graph that gives their value. A `ticket.Keep`."""

    def __init__(self, residents: Residents, arrays: Mapping[int, Pending]) -> None:
        self._residents = residents
        self._arrays = arrays

    def __repr__(self) -> str:
        return f"<PendingGroup of {len(self._arrays)} arrays, {sum(self.sizes):,} bytes>"

    @classmethod
    def reserve(
        cls,
        residents: Residents,
        results: Iterable[ResultSpec],
        name: str,
        ttl: float | None,
        *,
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
                arrays[node] = residents.reserve(result.type, result.order, name, ttl, is_patient=is_patient)
        except BaseException:
            cls(residents, arrays).abort()
            raise
        return cls(residents, arrays)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each array."""
        return tuple(pending.size for pending in self._arrays.values())

    @property
    def is_patient(self) -> bool:
        """Whether it waits until other arrays leave room."""
        return any(pending.is_patient for pending in self._arrays.values())

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
