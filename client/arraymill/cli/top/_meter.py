"""What `top` knows: answers of a server in, what is to be shown out. Nothing here asks, waits or prints.

The server counts from its start; rates are differences of what it said twice. When another process answers than before,
its counts begin anew: nothing is taken from one and compared with the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from arraymill import JobStatus, ServerInfo

HISTORY: Final = 120
"""Rates that are remembered of each kind: more than fit beside the numbers on any terminal."""

SLACK_SECONDS: Final = 0.1
"""By which a server may seem younger than it is, beside the drift of its clock."""

DRIFT: Final = 0.01
"""Most difference between the pace of its clock and that of this process; real ones are a hundred times as small."""

LEAST_SECONDS: Final = 1e-3
"""Between two answers of which rates are made."""

COUNTS: Final[Mapping[str, Callable[[ServerInfo], Mapping[str, int]]]] = {
    "jobs": lambda info: info.ended_jobs,
    "received": lambda info: info.received_bytes,
    "sent": lambda info: info.sent_bytes,
    "refusals": lambda info: info.refusals,
}
"""What is counted: jobs by outcome, bytes by way, refusals by reason."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server said at one time."""

    asked: float
    """When the question was sent, in seconds on a monotonic clock."""
    answered: float
    """When the answer came."""
    info: ServerInfo
    jobs: tuple[JobStatus, ...] = ()
    """The oldest submitted jobs that wait or run."""
    has_more_jobs: bool = False

    @property
    def at(self) -> float:
        """About when the server read its clock and its counts."""
        return (self.asked + self.answered) / 2


@dataclass(frozen=True, slots=True)
class Flow:
    """How much of something there is in a second."""

    by_kind: Mapping[str, float] = field(default_factory=dict[str, float])
    """Lately."""
    history: tuple[float, ...] = ()
    """Of all kinds together, the oldest first."""

    @property
    def total(self) -> float:
        """Of all kinds together, lately."""
        return sum(self.by_kind.values())


@dataclass(frozen=True, slots=True)
class View:
    """What is to be shown."""

    server: str
    """Its address."""
    info: ServerInfo | None = None
    """What it said last; None: nothing yet."""
    jobs: tuple[JobStatus, ...] = ()
    has_more_jobs: bool = False
    flows: Mapping[str, Flow] = field(default_factory=dict[str, Flow])
    """By the names of `COUNTS`; empty until a server process has answered twice."""
    trouble: str = ""
    """Why nothing new comes; empty: it does."""
    silent_seconds: float = 0.0
    """Since it answered last, while nothing new comes."""
    replaced: int = 0
    """How often another process had taken the place of the one before."""


class Meter:
    """Makes views of what comes.

    Args:
        server: Its address.
    """

    def __init__(self, server: str) -> None:
        self._last: Sample | None = None
        self._view = View(server)
        self._histories = {name: deque[float](maxlen=HISTORY) for name in COUNTS}

    def __repr__(self) -> str:
        return f"<Meter of {self._view.server}, {len(self._histories['jobs'])} rates>"

    def add(self, sample: Sample) -> View:
        """Take what the server said."""
        before, self._last = self._last, sample
        is_other = before is not None and _is_other(before, sample)
        self._view = View(
            self._view.server,
            sample.info,
            sample.jobs,
            has_more_jobs=sample.has_more_jobs,
            flows={} if before is None or is_other else self._flows(before, sample),
            replaced=self._view.replaced + is_other,
        )
        return self._view

    def trouble(self, at: float, why: str) -> View:
        """Say that nothing new comes; what came last stays, without rates that are none any more."""
        seconds = 0.0 if self._last is None else max(at - self._last.answered, 0.0)
        self._view = replace(self._view, trouble=why, silent_seconds=seconds, flows={})
        return self._view

    def _flows(self, before: Sample, now: Sample) -> dict[str, Flow]:
        seconds = max(now.at - before.at, LEAST_SECONDS)
        flows: dict[str, Flow] = {}
        for name, counts in COUNTS.items():
            old, new = counts(before.info), counts(now.info)
            by_kind = {kind: max(count - old.get(kind, 0), 0) / seconds for kind, count in sorted(new.items())}
            self._histories[name].append(sum(by_kind.values()))
            flows[name] = Flow(by_kind, tuple(self._histories[name]))
        return flows


def _is_other(before: Sample, now: Sample) -> bool:
    """Tell whether another process answers: one that is younger than the first would be at the least."""
    elapsed = (now.asked - before.answered) * (1 - DRIFT)
    return now.info.uptime_seconds < before.info.uptime_seconds + elapsed - SLACK_SECONDS
