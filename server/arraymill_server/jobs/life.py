"""The life of a submitted job: a table of states and events, and the story of what happened. No I/O, no clock.

`server/DESIGN.md` shows the table. What is not in it is a defect of the server: `Life.on` raises LifeError with the
whole story.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final


class State(Enum):
    """Where a job is in its life."""

    QUEUED = auto()
    """Waits for memory."""
    RUNNING = auto()
    """Has its memory."""
    STOPPING = auto()
    """Was cancelled; its memory is not free yet."""
    SUCCEEDED = auto()
    """Has ended; its results are there."""
    FAILED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    """Had succeeded; its results are gone."""

    @property
    def has_ended(self) -> bool:
        """True when nothing is done for the job any more."""
        return self in ENDED


ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


class Event(StrEnum):
    """What may happen to a job."""

    SUBMIT = "submitted"
    """Its birth: no transition."""
    ADMIT = "admitted"
    SUCCEED = "succeeded"
    FAIL = "failed"
    CANCEL = "cancelled"
    STOP = "stopped"
    EXPIRE = "expired"


_Q, _R, _S = State.QUEUED, State.RUNNING, State.STOPPING

TABLE: Final[Mapping[tuple[State, Event], State]] = {
    (_Q, Event.ADMIT): _R,
    (_S, Event.ADMIT): _S,  # it was cancelled in the very turn in which it got its memory
    (_R, Event.SUCCEED): State.SUCCEEDED,
    (_S, Event.SUCCEED): State.CANCELLED,  # nobody wants the result any more
    (_Q, Event.FAIL): State.FAILED,
    (_R, Event.FAIL): State.FAILED,
    (_S, Event.FAIL): State.CANCELLED,
    (_Q, Event.CANCEL): _S,
    (_R, Event.CANCEL): _S,
    (_S, Event.STOP): State.CANCELLED,  # its memory is free
    (State.SUCCEEDED, Event.EXPIRE): State.EXPIRED,
}


class LifeError(Exception):
    """An event came that the state does not know: a defect."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of the journal."""

    job_id: str
    event: Event
    at: float
    """On the clock of whoever keeps the journal."""
    state: State
    """After it."""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.event}{f' ({self.detail})' if self.detail else ''} → {self.state.name}"


class Life:
    """One job's state and story."""

    def __init__(self, job_id: str, at: float) -> None:
        self._job_id = job_id
        self.state = State.QUEUED
        self._story = [JobEvent(job_id, Event.SUBMIT, at, self.state)]
        """Few lines: no event comes twice."""

    def __repr__(self) -> str:
        return f"<Life of {self._job_id}: {self.state.name}>"

    @property
    def story(self) -> tuple[JobEvent, ...]:
        """What happened, oldest first."""
        return tuple(self._story)

    def on(self, event: Event, at: float, detail: str = "") -> JobEvent:
        """Let something happen.

        Raises:
            LifeError: It cannot happen in this state.
        """
        state = TABLE.get((self.state, event))
        if state is None:
            story = "\n  ".join(map(str, self._story))
            raise LifeError(f"job {self._job_id} was {event} in state {self.state.name}; its story:\n  {story}")
        self.state = state
        happened = JobEvent(self._job_id, event, at, state, detail)
        self._story.append(happened)
        return happened
