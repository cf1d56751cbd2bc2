"""What one generator has seen in one step: numbers and histograms, told to the load tester as JSON."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from arraymill.load._histogram import Histogram

UNFINISHED: Final = "Unfinished"
"""The reason of jobs that had no answer when the run was over."""

WRONG: Final = "WrongAnswer"

LATENCY: Final = "latency"
SERVICE: Final = "service"
LATE: Final = "late"

SERVER_PHASES: Final = ("queued", "received", "computed", "merged", "sent")
ELSEWHERE: Final = "elsewhere"

GRACE_SHARE: Final = 0.05
"""Of the step: so much later than its end an answer still counts as one that kept up with the rate, and as much later
again as the quickest job of its kind took."""


def _doubles() -> array[float]:
    return array("d")


@dataclass(slots=True)
class _Count:
    """Some jobs: of an entry of the mix, or of a second."""

    jobs: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    bytes: int = 0
    waiting: array[float] = field(default_factory=_doubles)
    """Latencies that are not in the histogram yet."""
    quickest: float = float("inf")
    """Of the latencies."""

    def succeeded(self, nbytes: int, latency: float) -> None:
        self.quickest = min(self.quickest, latency)
        self.jobs += 1
        self.bytes += nbytes
        self.waiting.append(latency)

    def told(self, histogram: Histogram) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "errors": dict(self.errors),
            "bytes": self.bytes,
            "histogram": histogram.encoded() if histogram.count else "",
        }


class Tally:
    """Counts jobs. All times are seconds since the begin of the step; jobs that were meant to be sent before are none.

    Recording appends to arrays; `fold` makes histograms of them, and is called now and then.

    Args:
        entries: How many there are in the mix.
        end: Of the step; infinite where jobs are counted instead.
    """

    def __init__(self, entries: int, end: float) -> None:
        self.end = end
        self._is_counted = end == float("inf")
        self.meant = 0
        """Jobs that were meant to be sent before the end."""
        self._sent_in_time = 0
        self._checked = self._wrong = 0
        self._in_time = self._bytes_in_time = 0
        """Of jobs that ended well before the end, whenever they were sent: what throughput is made of. Where jobs are
        counted, those of the warm-up are none: no others are under way at the end in their place."""
        self._kept_up = 0
        """Jobs that ended well before the end, or not much later (`GRACE_SHARE`)."""
        self.last = 0.0
        """When the last job ended well, or was meant to be sent and did not."""
        self._parts = [_Count() for _ in range(entries)]
        self._part_histograms = [Histogram() for _ in range(entries)]
        self._seconds = defaultdict[int, _Count](_Count)
        self._waiting: defaultdict[str, array[float]] = defaultdict(_doubles)
        self._histograms = defaultdict[str, Histogram](Histogram)

    # ------------------------------------------------------------------ jobs

    def sent(self, intended: float, sent: float) -> None:
        """A job of an open loop was sent."""
        if intended >= 0:
            self.meant += 1
            self._sent_in_time += sent < self.end
            self._waiting[LATE].append(sent - intended)

    def succeeded(self, entry: int, nbytes: int, intended: float, sent: float, ended: float, *, times: Any) -> None:
        """A job ended well.

        Args:
            entry: Its place in the mix.
            nbytes: Elements of its arrays.
            intended: When it was meant to be sent.
            sent: When it was.
            ended: When its answer was there.
            times: What the server says of it; None: nothing.
        """
        if 0 <= ended < self.end and (intended >= 0 or not self._is_counted):
            self._in_time += 1
            self._bytes_in_time += nbytes
        if intended < 0:
            return
        self.last = max(self.last, ended)
        latency, service = ended - intended, ended - sent
        part = self._parts[entry]
        part.succeeded(nbytes, latency)
        self._kept_up += ended < (1 + GRACE_SHARE) * self.end + part.quickest
        self._seconds[int(intended)].succeeded(nbytes, latency)
        self._waiting[LATENCY].append(latency)
        self._waiting[SERVICE].append(service)
        if times is not None:
            for phase in SERVER_PHASES:
                self._waiting[phase].append(getattr(times, phase))
            self._waiting[ELSEWHERE].append(max(0.0, service - sum(getattr(times, phase) for phase in SERVER_PHASES)))

    def failed(self, entry: int, intended: float, reason: str) -> None:
        """A job did not end well."""
        if intended >= 0:
            self.last = max(self.last, intended)
            self._parts[entry].errors[reason] += 1
            self._seconds[int(intended)].errors[reason] += 1

    def checked(self, intended: float, *, is_right: bool) -> None:
        """An answer was compared with NumPy's."""
        if intended >= 0:
            self._checked += 1
            self._wrong += not is_right

    # ------------------------------------------------------------------ what is told

    def news(self) -> dict[str, Any]:
        """Return what has come since the last call, by second, and forget it."""
        self._fold()
        seconds, self._seconds = self._seconds, defaultdict[int, _Count](_Count)
        return {str(second): count.told(_histogram(count.waiting)) for second, count in seconds.items()}

    def result(self) -> dict[str, Any]:
        """Return all but the seconds, when no job is under way any more."""
        self._fold()
        return {
            "checked": self._checked,
            "wrong": self._wrong,
            "in_time": self._in_time,
            "bytes_in_time": self._bytes_in_time,
            "meant": self.meant,
            "kept_up": self._kept_up,
            "sent_in_time": self._sent_in_time,
            "end": min(self.end, self.last) if self.end == float("inf") else self.end,
            "parts": [part.told(each) for part, each in zip(self._parts, self._part_histograms, strict=True)],
            "histograms": {name: histogram.encoded() for name, histogram in self._histograms.items()},
        }

    def _fold(self) -> None:
        for name, waiting in self._waiting.items():
            self._histograms[name].add(_taken(waiting))
        for part, histogram in zip(self._parts, self._part_histograms, strict=True):
            histogram.add(_taken(part.waiting))


def _taken(waiting: array[float]) -> Sequence[float]:
    """Empty an array, and return what was in it."""
    taken = waiting[:]
    del waiting[:]
    return taken


def _histogram(seconds: Iterable[float]) -> Histogram:
    histogram = Histogram()
    histogram.add(seconds)
    return histogram
