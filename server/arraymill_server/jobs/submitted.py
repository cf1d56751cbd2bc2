"""A submitted job: what was asked for, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from arraymill_proto.errors import ArraymillError
from arraymill_proto.graph import Graph
from arraymill_proto.limits import DEFAULT_PRIORITY
from arraymill_server.jobs.exchange import Exchange
from arraymill_server.jobs.life import Life, State
from arraymill_server.jobs.residents import ResidentArray
from arraymill_server.jobs.service import Report


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as it is submitted."""

    graph: Graph
    digest: bytes
    """Tells one graph from another."""
    client: str
    """Whose turn it takes."""
    key: str = ""
    """Empty: none."""
    priority: int = DEFAULT_PRIORITY
    deadline_seconds: float = 0.0
    """From now; 0: none."""
    ttl_seconds: float = 0.0
    """Of the results; 0: the server's default."""


class Feed(Exchange, Protocol):
    """The exchange of a submitted job: clients come and go."""

    on_start: Callable[[], None] | None
    """Called when the job has its memory."""

    @property
    def stalled(self) -> asyncio.Future[None]:
        """Fails when the job waits for input and nobody brings it."""
        ...

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs that clients have to bring, in one pass."""
        ...

    @property
    def blocks(self) -> int: ...

    @property
    def blocks_done(self) -> int: ...

    def end(self) -> None:
        """The job has ended: let the clients go."""
        ...


@dataclass(slots=True, eq=False)
class SubmittedJob:
    """A job of the board."""

    id: str
    number: int
    """Order of submission."""
    submission: Submission
    submitted: float
    """On the board's clock."""
    feed: Feed
    life: Life
    ended: float = 0.0
    """When; on the board's clock."""
    report: Report | None = None
    """Once it has succeeded."""
    error: ArraymillError | None = None
    """Once it has failed or was cancelled."""
    task: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has ended and holds no memory but its results."""

    def __repr__(self) -> str:
        return f"<SubmittedJob {self.id}: {self.state.name}>"

    @property
    def key(self) -> str:
        return self.submission.key

    @property
    def state(self) -> State:
        return self.life.state

    @property
    def results(self) -> tuple[ResidentArray, ...]:
        """One per output, once it has succeeded."""
        return self.report.arrays if self.report is not None and self.state is State.SUCCEEDED else ()
