"""From what the generators tell to one step of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from arraymill.load._histogram import Histogram
from arraymill.load._report import PHASES, Distribution, Generator, Part, Second, Step
from arraymill.load._tally import LATE, LATENCY, SERVICE

RECENT_SECONDS: Final = 5
"""Seconds that are kept one by one for whoever watches."""

MAX_ENCODED: Final = 8
"""Histograms of an interval that are kept side by side, until they are merged."""

MAX_INTERVALS: Final = 300
"""Of the plot over time; when there are more seconds, each interval becomes twice as long."""

BUSY_SHARE: Final = 0.85
"""CPU share of a process from which it is the limit: what is left is the noise of a machine with other things to do."""

HELD_SHARE: Final = 0.98
"""Part of the jobs that a generator must send while they are meant to be sent."""

LATE_SECONDS: Final = 5e-3
LATE_SHARE: Final = 0.1
"""A generator is late when its 99th percentile is later than both: so many seconds, and so much of the answers'."""

CPU_SHARE: Final = 0.5
"""From here on more processes help one that is late; one that uses less has waited for its machine."""


@dataclass(slots=True)
class _Interval:
    """Some seconds."""

    jobs: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    histograms: list[str] = field(default_factory=list[str])
    """Encoded: there are many, most of them empty for the most part."""

    def add(self, other: _Interval) -> None:
        self.jobs += other.jobs
        self.bytes += other.bytes
        self.errors += other.errors
        self.histograms += other.histograms
        if len(self.histograms) > MAX_ENCODED:
            self.merged()

    def merged(self) -> Histogram:
        """Return what the histograms tell together."""
        histogram = Histogram()
        for encoded in self.histograms:
            histogram.merge(encoded)
        self.histograms = [histogram.encoded()] if histogram.count else []
        return histogram


@dataclass(frozen=True, slots=True)
class Seen:
    """The figures of the last second, and of all, for whoever watches."""

    at: float
    jobs: int
    errors: Mapping[str, int]
    jobs_per_second: float
    bytes_per_second: float
    quantiles: Sequence[float]
    """p50, p99 and the maximum of the last second that has some; empty: none has."""


class Gathering:
    """One step, as it comes in."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._seconds = 1
        """Of an interval."""
        self._intervals = dict[int, _Interval]()
        self._recent = dict[int, _Interval]()
        """The last seconds."""
        self._servers = dict[int, Mapping[str, float]]()
        """What the server said of itself last in an interval."""
        self.server: Mapping[str, float] = {}
        """What it said last."""
        self.jobs = 0
        self.errors = Counter[str]()

    def add(self, told: Mapping[str, Any]) -> None:
        """Take what a generator tells of some seconds."""
        for second, count in told["seconds"].items():
            encoded = count["histogram"]
            new = _Interval(count["jobs"], count["bytes"], Counter(count["errors"]), [encoded] if encoded else [])
            place = self._place(float(second))
            self._intervals.setdefault(place, _Interval()).add(new)
            self._recent.setdefault(int(second), _Interval()).add(new)
            self.jobs += new.jobs
            self.errors += new.errors
        least = max(self._recent, default=0) - RECENT_SECONDS
        self._recent = {second: interval for second, interval in self._recent.items() if second > least}

    def answered(self, at: float, server: Mapping[str, float]) -> None:
        """Take what the server says of itself; at negative times it is only shown."""
        self.server = server
        if at >= 0:
            place = self._place(at)
            self._servers[place] = server

    def _place(self, second: float) -> int:
        """Return which interval a second is in."""
        while second >= MAX_INTERVALS * self._seconds:
            self._coarsen()
        return int(second / self._seconds)

    def _coarsen(self) -> None:
        fine, self._intervals = self._intervals, dict[int, _Interval]()
        self._seconds *= 2
        for place, interval in fine.items():
            self._intervals.setdefault(place // 2, _Interval()).add(interval)
        self._servers = {place // 2: self._servers[place] for place in sorted(self._servers)}  # the later one stays

    def seen(self, at: float) -> Seen:
        """Return what may be shown at some second."""
        last = max((second for second in self._recent if second + 1 <= at), default=None)
        seconds = 1.0 if last is not None else min(1.0, max(at, 1e-3))
        interval = self._recent.get(last or 0, _Interval())
        histogram = interval.merged()
        quantiles = [*histogram.quantiles((0.5, 0.99)), histogram.maximum] if histogram.count else []
        return Seen(at, self.jobs, self.errors, interval.jobs / seconds, interval.bytes / seconds, quantiles)

    def series(self, end: float) -> list[Second]:
        """Return the plot over time. What is left of an interval at the end belongs to the one before, if it is short.

        Args:
            end: Of the step.
        """
        self._place(end - 1e-9)
        last = max([int(end / self._seconds - 1e-9), *self._intervals, 0])
        if last and end - last * self._seconds < self._seconds / 2:
            self._intervals.setdefault(last - 1, _Interval()).add(self._intervals.pop(last, _Interval()))
            last -= 1
        return [self._second(place, end, is_last=place == last) for place in range(last + 1)]

    def _second(self, place: int, end: float, *, is_last: bool) -> Second:
        interval = self._intervals.get(place, _Interval())
        histogram, begin = interval.merged(), float(place * self._seconds)
        p50, p99 = histogram.quantiles((0.5, 0.99)) if histogram.count else (None, None)
        return Second(
            at=begin,
            seconds=max(end - begin, 1e-3) if is_last else float(self._seconds),
            jobs=interval.jobs,
            errors=interval.errors.total(),
            bytes=interval.bytes,
            p50=p50,
            p99=p99,
            maximum=histogram.maximum if histogram.count else None,
            server=dict(self._servers.get(place, {})),
        )


def make_step(
    gathering: Gathering,
    results: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    rate: float | None,
    clients: int,
) -> Step:
    """Make a step of what all generators have told.

    Args:
        gathering: Its seconds.
        results: Of the generators (`Tally.result`).
        names: Of the entries of the mix.
        rate: That was asked for.
        clients: Of all generators.
    """
    end = max([result["end"] for result in results], default=0.0)
    parts = [_part(name, [result["parts"][place] for result in results]) for place, name in enumerate(names)]
    latency = _distribution(results, LATENCY)
    phases = {phase: _distribution(results, phase, is_whole=False) for phase in PHASES}
    return Step(
        rate=rate,
        clients=clients,
        seconds=end,
        jobs=sum(part.jobs for part in parts),
        errors=_added(part.errors for part in parts),
        checked=_sum(results, "checked"),
        wrong=_sum(results, "wrong"),
        bytes=sum(part.bytes for part in parts),
        jobs_per_second=_sum(results, "in_time") / max(end, 1e-9),
        bytes_per_second=_sum(results, "bytes_in_time") / max(end, 1e-9),
        kept_up=None if rate is None else _sum(results, "kept_up") / max(_sum(results, "meant"), 1),
        latency=latency,
        service=_distribution(results, SERVICE),
        phases={phase: told for phase, told in phases.items() if told is not None},
        series=gathering.series(end),
        parts=parts,
        generator=_generator(results, rate),
    )


def _part(name: str, told: Sequence[Mapping[str, Any]]) -> Part:
    return Part(
        name=name,
        jobs=_sum(told, "jobs"),
        errors=_added(each["errors"] for each in told),
        bytes=_sum(told, "bytes"),
        latency=_merged(each["histogram"] for each in told).distribution(is_whole=False),
    )


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of some counts, the largest first."""
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total.most_common())


def _sum(told: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(each[key] for each in told)


def _distribution(results: Sequence[Mapping[str, Any]], name: str, *, is_whole: bool = True) -> Distribution | None:
    return _merged(result["histograms"].get(name, "") for result in results).distribution(is_whole=is_whole)


def _merged(encoded: Iterable[str]) -> Histogram:
    histogram = Histogram()
    for each in encoded:
        if each:
            histogram.merge(each)
    return histogram


# ------------------------------------------------------------------ whether the generator was the limit


def _generator(results: Sequence[Mapping[str, Any]], rate: float | None) -> Generator:
    share = max((result["cpu_share"] for result in results), default=0.0)
    late = None if rate is None else _distribution(results, LATE, is_whole=False)
    meant, sent = _sum(results, "meant"), _sum(results, "sent_in_time")
    held = None if rate is None else rate * (sent / meant if meant else 0.0)
    waited = any(result["was_full"] for result in results) and share < BUSY_SHARE  # for answers of the server
    reason = "" if waited else _reason(share, rate, held, late, _distribution(results, SERVICE, is_whole=False))
    return Generator(
        processes=len(results),
        cpu_share=share,
        sent_per_second=held,
        late=late,
        is_limit=bool(reason),
        reason=reason,
    )


def _reason(
    share: float, rate: float | None, held: float | None, late: Distribution | None, service: Distribution | None
) -> str:
    """Return why the generator was the limit; empty: it was not."""
    advice = "give it more --processes, or run it on another machine than the server"
    if share < CPU_SHARE:
        advice = f"it has used {share:.0%} of a core, so its machine is busy with other things: let it do nothing else"
    if rate is not None and held is not None and held < HELD_SHARE * rate:
        return f"it has sent {held / rate:.1%} of {rate:,g} jobs/s in time: {advice}, or ask for less"
    if share >= BUSY_SHARE:
        return f"its busiest process has used {share:.0%} of a core: {advice}"
    if late is not None and service is not None:
        p99, answer = late.quantiles["0.99"], service.quantiles["0.99"]
        if p99 > max(LATE_SECONDS, LATE_SHARE * answer):
            words = f"{1e3 * p99:.3g} ms after their time or later, while an answer took {1e3 * answer:.3g} ms (p99)"
            return f"one job in a hundred was sent {words}: {advice}"
    return ""
