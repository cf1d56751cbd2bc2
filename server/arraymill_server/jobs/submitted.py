"""A submitted job: what was asked for, how far it is, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from arraymill_proto.errors import ArraymillError, ParameterError
from arraymill_proto.identity import check_key, check_priority
from arraymill_proto.limits import DEFAULT_PRIORITY
from arraymill_server.jobs.exchange import Exchange
from arraymill_server.jobs.life import Life, State
from arraymill_server.jobs.request import Report
from arraymill_server.jobs.residents import ResidentArray


@dataclass(frozen=True, slots=True)
class Submission:
    """What is said about a job beside its graph; it is remembered as long as the job."""

    client: str
    """Whose turn it takes."""
    digest: bytes
    """Tells its graph from others."""
    key: str = ""
    """Empty: none."""
    priority: int = DEFAULT_PRIORITY
    deadline_seconds: float = 0.0
    """From now; 0: none."""
    ttl_seconds: float = 0.0
    """Of the results; 0: the server's default."""
    operation: str = ""
    """What the job is counted as."""

    def check(self) -> None:
        """Check everything but the time to live, which is that of any resident array.

        Raises:
            ParameterError: Something is out of bounds.
        """
        if self.key:
            check_key(self.key)
        check_priority(self.priority)
        if not 0 <= self.deadline_seconds < float("inf"):
            raise ParameterError(
                f"the deadline is in {self.deadline_seconds:g} s; give seconds above 0, or 0 for none",
                parameter="deadline",
            )


@dataclass(frozen=True, slots=True)
class Figures:
    """How far a job is."""

    input_bytes: int
    """Bytes of the inputs that clients have to bring, in one pass."""
    received_bytes: int
    blocks_done: int
    blocks: int
    """Of work in all passes; 0 until it runs."""


class Feed(Exchange, Protocol):
    """The exchange of a submitted job: clients come and go."""

    on_start: Callable[[], None] | None
    """Called when the job has its memory."""
    on_progress: Callable[[], None]
    """Called when its figures may be others."""

    @property
    def stalled(self) -> asyncio.Future[None]:
        """Fails when the job waits for input and nobody brings it."""
        ...

    @property
    def figures(self) -> Figures: ...

    def end(self) -> None:
        """The job has ended: let the clients go."""
        ...


@dataclass(slots=True, eq=False)
class SubmittedJob:
    """A job of the board. It is remembered for long after its end, so its graph and its feed are not."""

    id: str
    number: int
    """Order of submission."""
    submission: Submission
    submitted: float
    """On the board's clock."""
    feed: Feed | None
    """None when it has ended."""
    life: Life
    figures_at_end: Figures | None = None
    report: Report | None = None
    """Once it has ended."""
    error: ArraymillError | None = None
    """Once it has failed or was cancelled; `failure` is what may be raised."""
    is_refused: bool = False
    """True when it ended before it had a place in the queue: then it was never there."""

    def __repr__(self) -> str:
        return f"<SubmittedJob {self.id}: {self.state.name}>"

    @property
    def key(self) -> str:
        return self.submission.key

    @property
    def owner(self) -> str:
        """Its name in the waiting line, and where memory is leased."""
        return f"job {self.id}"

    @property
    def state(self) -> State:
        return self.life.state

    @property
    def figures(self) -> Figures:
        """How far it is, or was at its end."""
        if self.feed is not None:
            return self.feed.figures
        assert self.figures_at_end is not None
        return self.figures_at_end

    @property
    def results(self) -> tuple[ResidentArray, ...]:
        """One per output, once it has succeeded."""
        return self.report.arrays if self.report is not None and self.state is State.SUCCEEDED else ()

    def failure(self) -> ArraymillError:
        """Return a copy of the error: what is raised collects the frames of all who raise it."""
        assert self.error is not None
        return self.error.located("")
