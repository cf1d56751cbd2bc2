"""Conditions on what was measured, for CI: `p99>50ms`, `errors>0`, `throughput<2000/s`.

A condition that holds means that the run has failed. It is judged on the step that is worst for it, except `knee`,
which is one number of the whole run. Where nothing was measured that it could be judged on, it holds: a run in which
no job ended well must not pass.

| name | what | units |
|---|---|---|
| p50, p99, p99.9, … | the latency that so many percent do not exceed | us ms s min h |
| max, mean | of the latency | us ms s min h |
| errors | number of jobs that did not end well | |
| error-rate | their part of all jobs | % |
| throughput, knee | jobs per second | /s |
| bandwidth | bytes per second, both ways | B/s KiB/s MiB/s … |
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from arraymill._text.errors import InputError
from arraymill._text.quantities import BYTES, SECONDS, nearest, split_quantity
from arraymill.load._histogram import Histogram
from arraymill.load._report import Step, Verdict

_FORM: Final = re.compile(r"\s*(?P<name>[a-z0-9.-]+)\s*(?P<sign><=|>=|<|>)\s*(?P<value>\S.*)")
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")

_SIGNS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RATES: Final = {"": 1.0, "/s": 1.0}
_BANDWIDTHS: Final = {f"{unit}/s": factor for unit, factor in BYTES.items()}
_UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    "max": SECONDS,
    "mean": SECONDS,
    "errors": {"": 1.0},
    "error-rate": {"": 1.0, "%": 0.01},
    "throughput": _RATES,
    "knee": _RATES,
    "bandwidth": _BANDWIDTHS,
}
_NAMES: Final = ("p50", "p90", "p99", "p99.9", *_UNITS)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition."""

    text: str
    name: str
    sign: str
    bound: float
    """In base units."""

    def judge(self, steps: Sequence[Step], knee: float | None) -> Verdict:
        """Tell whether it holds, and for what value."""
        values = [knee] if self.name == "knee" else [_value(self.name, step) for step in steps]
        known = [value for value in values if value is not None]
        worst = None if not known else max(known) if self.sign.startswith(">") else min(known)
        is_met = len(known) < max(len(values), 1) or (worst is not None and _SIGNS[self.sign](worst, self.bound))
        return Verdict(condition=self.text, value=worst, is_met=is_met)


def read_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        InputError: It has no meaning.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(f"{text[:60]!r} is no condition: write it as p99>50ms, errors>0 or throughput<1000/s")
    name, value = match["name"], match["value"].strip()
    units = SECONDS if _PERCENTILE.fullmatch(name) else _UNITS.get(name)
    if units is None:
        raise InputError(f"the condition {text[:60]!r} names {name[:40]!r}: {nearest(name, _NAMES)}")
    found = split_quantity(value)
    if found is None or found[1] not in units:
        words = ", ".join(filter(None, units)) or "none"
        raise InputError(f"the condition {text[:60]!r} needs a number and its unit ({words}) behind {match['sign']}")
    return Condition(text.strip(), name, match["sign"], found[0] * units[found[1]])


def judge(conditions: Iterable[Condition], steps: Sequence[Step], knee: float | None) -> list[Verdict]:
    """Judge some conditions."""
    return [condition.judge(steps, knee) for condition in conditions]


def _value(name: str, step: Step) -> float | None:
    """Return what was measured in a step, None where nothing was."""
    errors = sum(step.errors.values())
    match name:
        case "errors":
            return float(errors)
        case "error-rate":
            return errors / (step.jobs + errors) if step.jobs + errors else None
        case "throughput":
            return step.jobs_per_second
        case "bandwidth":
            return step.bytes_per_second
        case _:
            return _latency(name, step)


def _latency(name: str, step: Step) -> float | None:
    if step.latency is None:
        return None
    match name:
        case "max":
            return step.latency.maximum
        case "mean":
            return step.latency.mean
        case _:
            return Histogram.decoded(step.latency.histogram).quantiles([float(name[1:]) / 100])[0]
