"""The figures of a load test that people compare, with their units and as they read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from arraymill._quantities import bytes_text
from arraymill.load._report import Distribution, Report, Step, Verdict

Unit = Literal["seconds", "bytes", "per second", "bytes per second", "share", "count"]

TAIL_JOBS: Final = 10
"""A quantile with fewer jobs above it is that of some unlucky ones: another run gives another."""


STAR: Final = "*"
STAR_MEANS: Final = "* Fewer than ten jobs took longer: another run will give another figure."

MOST_DRAWN: Final = 12


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a step."""

    name: str
    unit: Unit
    value: float | None
    """In base units; None: nothing was measured."""
    wanted: Literal["low", "high", ""] = ""
    """In which direction it is better; neither: it tells how much was done."""
    is_shaky: bool = False
    """Too few jobs stand behind it."""

    def __str__(self) -> str:
        return value_text(self.value, self.unit)

    def starred(self) -> str:
        """Return it for people, with a star where few jobs stand behind it; of the largest of all everybody knows."""
        return f"{self}{STAR if self.is_starred else ''}"

    @property
    def is_starred(self) -> bool:
        """Whether readers must be told how few jobs stand behind it."""
        return self.is_shaky and self.value is not None and self.name != "max"


def figures(step: Step) -> list[Figure]:
    """Return the figures of a step, the most wanted first; the same names for every step."""
    errors = sum(step.errors.values())
    tried = step.jobs + errors
    most, mean = (None, None) if step.latency is None else (step.latency.maximum, step.latency.mean)
    return [
        Figure("throughput", "per second", step.jobs_per_second, "high"),
        Figure("data rate", "bytes per second", step.bytes_per_second, "high"),
        *(quantile(step.latency, name, value) for name, value in QUANTILE_NAMES.items()),
        Figure("max", "seconds", most, "low", is_shaky=True),
        Figure("mean", "seconds", mean, "low"),
        Figure("jobs", "count", step.jobs),
        Figure("errors", "count", errors, "low"),
        Figure("error share", "share", errors / tried if tried else None, "low"),
        Figure("checked", "count", step.checked),
        Figure("wrong", "count", step.wrong, "low"),
    ]


QUANTILE_NAMES: Final[Mapping[str, float]] = {
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99.9": 0.999,
}


def quantile(latency: Distribution | None, name: str, value: float) -> Figure:
    """Return a quantile of a step's latency by its name of `QUANTILE_NAMES`."""
    if latency is None:
        return Figure(name, "seconds", None, "low")
    is_shaky = latency.count * (1 - value) < TAIL_JOBS
    return Figure(name, "seconds", latency.quantiles.get(str(value)), "low", is_shaky)


def step_name(step: Step) -> str:
    """Return what was asked of the server in a step: 2,000 jobs/s, or 64 clients."""
    if step.rate is None:
        return f"{step.clients:,} client{'' if step.clients == 1 else 's'}"
    return f"{number_text(step.rate)} jobs/s"


def telling_step(report: Report) -> Step | None:
    """Return the step that speaks for a run: the knee, else the one with most jobs in a second; None: there is none."""
    knee = [step for step in report.steps if report.knee is not None and step.rate == report.knee]
    return next(iter(knee), None) or max(report.steps, key=lambda step: step.jobs_per_second, default=None)


def knee_text(report: Report) -> str:
    """Return the largest rate that was held, and that it is the least where no higher one told otherwise."""
    after = next((step for step in report.steps if (step.rate or 0) > (report.knee or 0)), None)
    least = "at least " if after is None or after.generator.is_limit else ""
    return f"{least}{number_text(report.knee or 0)} jobs/s"


def measured_text(verdict: Verdict) -> str:
    """Return what was measured for a condition, in the unit of what it names."""
    name = re.match(r"[a-z-]*", verdict.condition.strip())
    unit = _NAMED_UNITS.get(name[0], "count") if name else "count"
    return "nothing" if verdict.value is None else value_text(verdict.value, unit)


_NAMED_UNITS: Final[Mapping[str, Unit]] = {
    **dict.fromkeys(("p", "max", "mean"), "seconds"),
    **dict.fromkeys(("throughput", "knee"), "per second"),
    "error-rate": "share",
    "bandwidth": "bytes per second",
}
"""Units of what conditions name; of percentiles without their number."""


def report_title(report: Report) -> str:
    """Return what to call a run that has no title of its own as well."""
    address = report.server.get("address")
    return report.title or (f"Load test of {address}" if address else "Load test")


def some_steps(report: Report) -> list[Step]:
    """Return as many steps as can be told apart when drawn together: all, or the first, the last and some between."""
    last = len(report.steps) - 1
    if last < MOST_DRAWN:
        return report.steps
    places = {round(place * last / (MOST_DRAWN - 1)) for place in range(MOST_DRAWN)}
    return [step for place, step in enumerate(report.steps) if place in places or step.rate == report.knee]


def number_text(number: float) -> str:
    """Return a number to three digits, or whole: 0.123, 1.5, 12.3, 12,345."""
    if number == 0:
        return "0"
    if abs(number) >= 99.95:
        return f"{number:,.0f}"
    text = f"{number:.{max(0, 2 - math.floor(math.log10(abs(number))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds_text(seconds: float) -> str:
    """Return a duration to three digits: 85 µs, 1.25 ms, 3.4 s, 95 s."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if abs(seconds) * factor < 999.5:
            return f"{number_text(seconds * factor)} {unit}" if seconds else "0 s"
    return f"{number_text(seconds)} s"


def clock_text(seconds: float) -> str:
    """Return a time within a run: 0:05, 12:30, 1:02:03; tenths where it has any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{text}:{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")


_TEXTS: Final[dict[Unit, Callable[[float], str]]] = {
    "seconds": seconds_text,
    "bytes": bytes_text,
    "per second": lambda value: f"{number_text(value)}/s",
    "bytes per second": lambda value: f"{bytes_text(value)}/s",
    "share": lambda value: f"{number_text(value * 100)} %",
    "count": number_text,
}


def value_text(value: float | None, unit: Unit) -> str:
    """Return a value with its unit; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else _TEXTS[unit](value)
