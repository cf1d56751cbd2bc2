"""What a server has counted since its start: plain numbers, so that counting costs a small job less than a microsecond.

They belong to the event loop: only its thread counts and reads them. Labels come from fixed sets, whatever clients
send: the names of the catalogue, outcomes, transports, reasons.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Container, Sequence
from typing import Final, Protocol

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
"""It ended with an error after it had begun."""
CANCELLED: Final = "cancelled"
"""Its client, or its client's deadline, has ended it, or its client has gone."""
REFUSED: Final = "refused"
"""It ended with an error before it ran."""
OUTCOMES: Final[tuple[str, ...]] = (SUCCEEDED, FAILED, CANCELLED, REFUSED)

INLINE: Final = "inline"
"""In the message of a job, or of its answer."""
GRPC: Final = "grpc"
"""In frames."""
BULK: Final = "bulk"
MEMORY: Final = "memory"
"""In memory that client and server share."""
TRANSPORTS: Final[tuple[str, ...]] = (INLINE, GRPC, BULK, MEMORY)

EXPRESSION: Final = "expression"
"""A job of several operations."""
PUT: Final = "put"
"""A job without operations that keeps its value on the server."""
GET: Final = "get"
"""Another one without operations: it reads kept arrays, as a rule."""
UNKNOWN: Final = "unknown"
"""A job that was refused unread, or whose operation there is not."""

PHASES: Final = ("queued", "received", "computed", "merged", "sent", "total")

DURATION_BOUNDS: Final = tuple(step * 10.0**power for power in range(-5, 3) for step in (1.0, 2.5, 5.0))[1:-2]
"""25 µs, half of what the smallest job takes, to 100 s, in three steps for each power of ten."""

LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The loop's clock ticks in milliseconds: below there is nothing to be seen."""

NOTED: Final = 256
"""Values that a histogram counts at once, in 30 µs."""

RECENT_LAGS: Final = 20
"""Lags that `recent_lag_seconds` looks at: those of five seconds with jobs."""


class PhaseTimes(Protocol):
    """Where the time of a job went, in seconds; one attribute for each of `PHASES`."""

    queued: float
    received: float
    computed: float
    merged: float
    sent: float
    total: float


class Histogram:
    """Counts values by the bounds between which they lie.

    Values are counted some at a time: to note one costs a third of what it would cost to count it.

    Args:
        bounds: Ascending; a value belongs to the first one that it does not exceed.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Final = tuple(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0
        self._noted: list[float] = []

    def __repr__(self) -> str:
        return f"<Histogram of {sum(self.counts):,} values>"

    def add(self, value: float) -> None:
        """Count a value."""
        self._noted.append(value)
        if len(self._noted) >= NOTED:
            self._count()

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values belong to each bound; the last: to none."""
        self._count()
        return tuple(self._counts)

    @property
    def sum(self) -> float:
        """Of all values."""
        self._count()
        return self._sum

    def copy(self, zeros: int = 0) -> Histogram:
        """Return a copy in which some more zeros are counted."""
        copy = Histogram(self.bounds)
        copy._counts[:] = self.counts
        copy._counts[0] += zeros
        copy._sum = self._sum
        return copy

    def _count(self) -> None:
        for value in self._noted:
            self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += sum(self._noted)
        self._noted.clear()


class Traffic:
    """Bytes of arrays that came from clients and went to them, by their transport."""

    def __init__(self) -> None:
        self.received: Final[dict[str, int]] = dict.fromkeys(TRANSPORTS, 0)
        self.sent: Final[dict[str, int]] = dict.fromkeys(TRANSPORTS, 0)

    def __repr__(self) -> str:
        return f"<Traffic: {sum(self.received.values()):,} bytes in, {sum(self.sent.values()):,} out>"

    def take(self, other: Traffic) -> None:
        """Count what another one has counted, which begins anew."""
        for mine, others in ((self.received, other.received), (self.sent, other.sent)):
            for transport, nbytes in others.items():
                mine[transport] += nbytes
                others[transport] = 0


class Counts:
    """All counts of one server."""

    def __init__(self) -> None:
        self._jobs = {outcome: Counter[str]() for outcome in OUTCOMES}
        self.refusals: Final[Counter[str]] = Counter()
        """Jobs that were refused, and other calls that were answered with an error, by reason."""
        self.traffic: Final = Traffic()
        self.lag: Final = Histogram(LAG_BOUNDS)
        """Seconds by which the event loop was late."""
        self._lags: deque[float] = deque(maxlen=RECENT_LAGS)
        self._durations = {phase: Histogram(DURATION_BOUNDS) for phase in PHASES}
        self._total, self._computed = self._durations["total"], self._durations["computed"]
        self._played = 0
        """Jobs that only computed: their other phases are zeros that nobody has added."""

    def __repr__(self) -> str:
        return f"<Counts of {sum(self.outcomes.values()):,} jobs, {self.traffic!r}>"

    def ended(self, operation: str, outcome: str) -> None:
        """Count the end of a job."""
        self._jobs[outcome][operation] += 1

    def refused(self, reason: str) -> None:
        """Count a call that is answered with an error."""
        self.refusals[reason] += 1

    def turned_away(self, operation: str, reason: str) -> None:
        """Count a job that is refused."""
        self.refused(reason)
        self.ended(operation, REFUSED)

    def took(self, times: PhaseTimes) -> None:
        """Count the times of a job that has succeeded."""
        for phase, histogram in self._durations.items():
            histogram.add(getattr(times, phase))

    def played(self, operation: str, total: float, computed: float, received_bytes: int, sent_bytes: int) -> None:
        """Count a job that was played on the event loop, in one message each way."""
        self._jobs[SUCCEEDED][operation] += 1
        self._played += 1
        self._total.add(total)
        self._computed.add(computed)
        self.traffic.received[INLINE] += received_bytes
        self.traffic.sent[INLINE] += sent_bytes

    def late(self, seconds: float) -> None:
        """Count by how much the event loop was late."""
        self.lag.add(seconds)
        self._lags.append(seconds)

    @property
    def recent_lag_seconds(self) -> float:
        """The most by which the event loop was late lately."""
        return max(self._lags, default=0.0)

    @property
    def jobs(self) -> dict[tuple[str, ...], int]:
        """Jobs that have ended, by operation and outcome.

        Every operation that there was has all outcomes, and `EXPRESSION` is there from the start: a rate needs a zero
        before the first of a kind.
        """
        operations = sorted({EXPRESSION}.union(*self._jobs.values()))
        return {
            (operation, outcome): jobs[operation] for operation in operations for outcome, jobs in self._jobs.items()
        }

    @property
    def outcomes(self) -> dict[str, int]:
        """Jobs that have ended, by outcome."""
        return {outcome: jobs.total() for outcome, jobs in self._jobs.items()}

    def durations(self) -> dict[str, Histogram]:
        """Return the times of jobs that have succeeded, by phase: copies."""
        played = ("computed", "total")
        return {
            phase: histogram.copy(zeros=0 if phase in played else self._played)
            for phase, histogram in self._durations.items()
        }


def operation_label(names: Sequence[str], known: Container[str], *, is_kept: bool) -> str:
    """Return what a job is counted as.

    Args:
        names: Of the operations of its graph; of many, two are enough.
        known: The names that there are.
        is_kept: Whether it keeps its value on the server.
    """
    if len(names) > 1:
        return EXPRESSION
    if names:
        return names[0] if names[0] in known else UNKNOWN
    return PUT if is_kept else GET
