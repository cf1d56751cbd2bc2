"""The course of a run: its steps' seconds one after the other, as plots over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from arraymill.load._figures import Unit, clock_text, step_name, value_text
from arraymill.load._plots import Line, Plot, Style
from arraymill.load._report import Report, Second

MOST_ROWS: Final = 60
"""Of a table beside a plot over time; longer runs have several seconds in a row."""

_GAP: Final = 1e-3
"""Seconds between what would stand at the same place: enough for a line to break there."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All seconds of a run; None where one step has ended and the next has not begun."""

    places: list[float]
    seconds: list[Second | None]
    rates: list[float | None]
    """What was asked for, jobs per second."""
    marks: list[tuple[float, str]]
    """Where steps begin, if there are several."""

    def values(self, get: Callable[[Second], float | None]) -> list[float | None]:
        """Return one number of each second."""
        return [None if second is None else get(second) for second in self.seconds]


def timeline(report: Report) -> Timeline:
    """Lay the steps of a run out in time; those that count their time from their own begin follow each other."""
    course = Timeline([], [], [], [])
    end = 0.0
    for step in report.steps:
        if not step.series:
            continue
        shift = end if step.series[0].at < end else 0.0
        if len(report.steps) > 1:
            course.marks.append((step.series[0].at + shift, step_name(step)))
        for second in step.series:
            _add(course, second.at + shift, second, step.rate)
        end = step.series[-1].at + step.series[-1].seconds + shift
        _add(course, end, None, None)
    return course


def _add(course: Timeline, at: float, second: Second | None, rate: float | None) -> None:
    """Add a second, or a gap; times must grow, or nothing can be drawn."""
    if course.places and at <= course.places[-1]:
        if second is None:
            return
        if course.seconds[-1] is None:
            course.places[-1] -= _GAP
        at = max(at, course.places[-1] + _GAP)
    course.places.append(at)
    course.seconds.append(second)
    course.rates.append(rate)


def latency_plot(course: Timeline) -> Plot:
    """Return p50, p99 and max of each second, with marks where there were errors."""
    lines = [
        Line("max", "purple", course.values(lambda second: second.maximum), "thin"),
        Line("p99", "orange", course.values(lambda second: second.p99)),
        Line("p50", "blue", course.values(lambda second: second.p50)),
    ]
    errors = course.values(lambda second: second.errors or None)
    if any(errors):
        lines.append(Line("errors", "red", errors, "errors", "count"))
    rows, together = _rows(course, (_middle_p50, _largest_p99, _largest, _errors))
    header = ("from", "p50" + (", middle one" if together else ""), "p99" + (", largest" if together else ""), "max")
    note = "From the intended send to the answer, by the second of the intended send."
    return Plot(
        "latency",
        "Latency over time",
        "time",
        "seconds",
        [(course.places, lines)],
        (*header, "errors"),
        rows,
        note + (" Red marks: seconds with errors." if any(errors) else ""),
        course.marks,
    )


def throughput_plots(course: Timeline) -> list[Plot]:
    """Return jobs and bytes per second over time."""
    asked = [Line("asked for", "grey", course.rates, "dashed")] if any(course.rates) else []
    errors = course.values(lambda second: second.errors / second.seconds if second.seconds else None)
    failed = [Line("errors", "red", errors, "thin")] if any(errors) else []
    jobs = Line("answered", "blue", course.values(lambda second: _rate(second.jobs, second.seconds)))
    sent = Line("bytes", "green", course.values(lambda second: _rate(second.bytes, second.seconds)))
    rows, _ = _rows(course, (_jobs_rate, _errors))
    byte_rows, _ = _rows(course, (_bytes_rate,))
    groups = [(course.places, [*asked, jobs, *failed])]
    return [
        Plot("jobs", "Jobs per second", "time", "per second", groups, ("from", "answered", "errors"), rows),
        Plot(
            "bytes",
            "Data per second",
            "time",
            "bytes per second",
            [(course.places, [sent])],
            ("from", "sent and fetched"),
            byte_rows,
        ),
    ]


_COURSES: Final[tuple[tuple[str, Style], ...]] = (("grey", "dashed"), ("blue", "line"))


def courses_plot(
    identity: str,
    title: str,
    unit: Unit,
    courses: Sequence[tuple[str, Timeline]],
    get: Callable[[Second], float | None],
) -> Plot:
    """Return one number of the seconds of several runs over each other, the first run dashed."""
    groups = [
        (course.places, [Line(name, color, course.values(get), style)])
        for (name, course), (color, style) in zip(courses, _COURSES, strict=False)
    ]

    def text(seconds: Sequence[Second]) -> str:
        known = [value for second in seconds if (value := get(second)) is not None]
        return value_text(_middle(known), unit)

    columns = [{row[0]: row[1] for row in _rows(course, (text,))[0]} for _, course in courses]
    places = dict.fromkeys(place for column in columns for place in column)
    rows = [(place, *(column.get(place, "–") for column in columns)) for place in places]
    words = "Where a row stands for several seconds it tells the middle one."
    return Plot(identity, title, "time", unit, groups, ("from", *(name for name, _ in courses)), rows, words)


_COLORS: Final = ("blue", "orange", "green", "purple", "red", "grey")


def server_plots(course: Timeline) -> list[Plot]:
    """Return what the server told of itself, one plot for each unit."""
    names = list(dict.fromkeys(chain.from_iterable(second.server for second in course.seconds if second)))
    by_unit: dict[Unit, list[str]] = {}
    for name in names:
        by_unit.setdefault(_unit_of(name), []).append(name)
    return [_server_plot(course, unit, of_unit) for unit, of_unit in by_unit.items()]


_TITLES: Final[dict[Unit, str]] = {
    "bytes": "Memory of the server",
    "seconds": "Times in the server",
    "bytes per second": "Traffic of the server",
    "per second": "Rates of the server",
    "share": "Shares of the server",
    "count": "Jobs and connections of the server",
}


def _server_plot(course: Timeline, unit: Unit, names: Sequence[str]) -> Plot:
    lines = [
        Line(
            _words(name),
            _COLORS[place % len(_COLORS)],
            course.values(partial(_of_server, name)),
        )
        for place, name in enumerate(names)
    ]
    rows, _ = _rows(course, [partial(_mean_text, name, unit) for name in names])
    return Plot(
        f"server-{unit.replace(' ', '-')}",
        _TITLES[unit],
        "time",
        unit,
        [(course.places, lines)],
        ("from", *map(_words, names)),
        rows,
    )


def _of_server(name: str, second: Second) -> float | None:
    return second.server.get(name)


def _unit_of(name: str) -> Unit:
    for ending, unit in _ENDINGS.items():
        if name.endswith(ending):
            return unit
    return "count"


_ENDINGS: Final[dict[str, Unit]] = {
    "_bytes_per_second": "bytes per second",
    "_per_second": "per second",
    "_bytes": "bytes",
    "_seconds": "seconds",
    "_share": "share",
}
"""Of names, the longer ones first."""


def _words(name: str) -> str:
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
    return name.removesuffix(ending).replace("_", " ")


def _rows(course: Timeline, columns: Sequence[Callable[[Sequence[Second]], str]]) -> tuple[list[tuple[str, ...]], bool]:
    """Return the rows of a table over time, and whether several seconds are in one."""
    known = [(at, second) for at, second in zip(course.places, course.seconds, strict=True) if second]
    size = -(-len(known) // MOST_ROWS) or 1
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    rows = [(clock_text(part[0][0]), *(column([second for _, second in part]) for column in columns)) for part in parts]
    return rows, size > 1


def _middle_p50(seconds: Sequence[Second]) -> str:
    known = [second.p50 for second in seconds if second.p50 is not None]
    return value_text(_middle(known), "seconds")


def _middle(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def _largest_p99(seconds: Sequence[Second]) -> str:
    return value_text(max((second.p99 for second in seconds if second.p99 is not None), default=None), "seconds")


def _largest(seconds: Sequence[Second]) -> str:
    known = (second.maximum for second in seconds if second.maximum is not None)
    return value_text(max(known, default=None), "seconds")


def _errors(seconds: Sequence[Second]) -> str:
    return value_text(sum(second.errors for second in seconds), "count")


def _jobs_rate(seconds: Sequence[Second]) -> str:
    passed = sum(second.seconds for second in seconds)
    return value_text(_rate(sum(second.jobs for second in seconds), passed), "per second")


def _bytes_rate(seconds: Sequence[Second]) -> str:
    passed = sum(second.seconds for second in seconds)
    return value_text(_rate(sum(second.bytes for second in seconds), passed), "bytes per second")


def _mean_text(name: str, unit: Unit, seconds: Sequence[Second]) -> str:
    known = [second.server[name] for second in seconds if name in second.server]
    return value_text(sum(known) / len(known) if known else None, unit)


def _rate(count: float, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None
