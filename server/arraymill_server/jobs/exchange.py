"""The seam between a running job and its client: how bytes reach an extent of the arena, and leave it.

An exchange is one end of a lane. Jobs do not know which lane they use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from arraymill_server.plan.model import ResultSpec, Wanted


@dataclass(frozen=True, slots=True)
class Started:
    """What the client is told when its job has its memory and runs."""

    job_id: str
    reserved_bytes: int
    blocks: int
    results: tuple[ResultSpec, ...]
    """One per output."""
    is_kept: bool
    """True when the result stays on the server and is not sent."""
    is_placed: bool = False
    """True when results are left where the client shall find them, and are not sent."""
    at_hand_bytes: int = 0
    """Of inputs that are in memory already and are not asked for."""

    @property
    def result_bytes(self) -> int:
        """Of all results together."""
        return sum(result.nbytes for result in self.results)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A range of a result on its way to the client."""

    outputs: tuple[int, ...]
    offset: int
    """Bytes from the start of the result, its axes in its own order."""
    data: memoryview
    """Where it lies; it stays as it is until the exchange says that it is sent."""
    address: int = 0
    """Of its first byte."""


class Peer(Protocol):
    """The job, as its exchange sees it."""

    def done(self, token: int) -> None:
        """A range has arrived, or has been sent."""
        ...

    def fail(self, error: BaseException) -> None:
        """The exchange cannot go on."""
        ...


class Exchange(Protocol):
    """One end of a lane. No method blocks."""

    def start(self, started: Started, peer: Peer) -> None:
        """The job runs now; tell the client."""
        ...

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        """Ask the client for a range; `peer.done(token)` when all of it lies in `target`, which begins at `address`."""
        ...

    def send(self, outgoing: Outgoing, token: int) -> None:
        """Send a range; `peer.done(token)` when `outgoing.data` is no longer read."""
        ...

    def progress(self, blocks_done: int) -> None:
        """Some more blocks are done."""
        ...

    def close(self) -> None:
        """Touch no memory of the job any more; it ends here, well or not. Safe to call twice."""
        ...

    @property
    def received_bytes(self) -> int: ...

    @property
    def sent_bytes(self) -> int: ...
