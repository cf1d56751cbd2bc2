"""Two reports beside each other: what was different in what was asked, then before, after and their ratio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from arraymill.load._figures import STAR, Figure, Unit, figures, number_text, step_name, value_text
from arraymill.load._report import Report, Step

SAME: Final = 0.02
"""Ratios this close to 1 are told as "about the same": two runs of the same differ by as much."""

TELLING: Final = 0.05
"""From this on a change is called better or worse."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the two runs did not have in common."""

    name: str
    """`plan.rate`, `server.workers`, …."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both runs."""

    before: Figure
    after: Figure

    @property
    def name(self) -> str:
        """Of the figure."""
        return self.before.name

    @property
    def unit(self) -> Unit:
        """Of both values."""
        return self.before.unit

    @property
    def ratio(self) -> float | None:
        """After by before; None where there is no such number."""
        before, after = self.before.value, self.after.value
        return after / before if before and after is not None else None

    @property
    def is_shaky(self) -> bool:
        """Whether too few jobs stand behind one of the two."""
        return self.before.is_shaky or self.after.is_shaky

    @property
    def is_starred(self) -> bool:
        """Whether readers must be told so."""
        return self.before.is_starred or self.after.is_starred

    @property
    def effect(self) -> str:
        """`better`, `worse`, or nothing where neither can be said."""
        before, after, wanted = self.before.value, self.after.value, self.before.wanted
        if not wanted or self.is_shaky or before is None or after is None or abs(after - before) <= TELLING * before:
            return ""
        return "better" if (after < before) == (wanted == "low") else "worse"

    def texts(self) -> tuple[str, str, str, str, str]:
        """Return name, before, after, ratio and words for people."""
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f}"
        name = f"{self.name}{STAR if self.is_starred else ''}"
        words = ", ".join(filter(None, (self.words(), self.effect)))
        return name, str(self.before), str(self.after), ratio, words

    def words(self) -> str:
        """Return the change for people."""
        before, after = self.before.value, self.after.value
        if before is None or after is None:
            return "" if before is after else "not measured before" if before is None else "not measured after"
        if before == after:
            return "the same"
        if self.ratio is None:
            return "none before"
        return _ratio_words(self.ratio)


def _ratio_words(ratio: float) -> str:
    if ratio == 0:
        return "none after"
    if ratio >= 2:
        return f"{number_text(ratio)} times as high"
    if abs(ratio - 1) < SAME:
        return "about the same"
    return f"{abs(ratio - 1) * 100:.0f} % {'higher' if ratio > 1 else 'lower'}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A step of each run that can be compared."""

    name: str
    before: Step
    after: Step
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs."""

    differences: list[Difference]
    warnings: list[str]
    """Why the figures are to be read with care."""
    pairs: list[Pair]
    knee: Change | None
    """None where neither run has one."""

    def telling_pair(self) -> Pair | None:
        """Return the pair with most jobs in a second that both runs held, else of all; None: there is none."""
        knees = (self.knee.before.value, self.knee.after.value) if self.knee else ()
        held = min((knee for knee in knees if knee is not None), default=math.inf)
        both = [pair for pair in self.pairs if (pair.before.rate or 0) <= held]
        return max(both or self.pairs, key=lambda pair: pair.before.jobs_per_second, default=None)


def compare(before: Report, after: Report) -> Comparison:
    """Compare two runs, step by step where they asked for the same."""
    pairs = list(_pairs(before, after))
    return Comparison(
        list(_differences(before, after)), list(_warnings(before, after, pairs)), pairs, _knee(before, after)
    )


def _knee(before: Report, after: Report) -> Change | None:
    if before.knee is None and after.knee is None:
        return None
    return Change(*(Figure("knee", "per second", report.knee, "high") for report in (before, after)))


def _pairs(before: Report, after: Report) -> Iterator[Pair]:
    """Find the steps of the same load; two runs of one step each are compared whatever was asked for."""
    if len(before.steps) == len(after.steps) == 1:
        yield _pair(before.steps[0], after.steps[0])
        return
    later = {(step.rate, step.clients): step for step in after.steps}
    for step in before.steps:
        partner = later.get((step.rate, step.clients))
        if partner is not None:
            yield _pair(step, partner)


def _pair(before: Step, after: Step) -> Pair:
    names = dict.fromkeys((step_name(before), step_name(after)))
    changes = list(map(Change, figures(before), figures(after)))
    return Pair(" and ".join(names), before, after, changes)


def _differences(before: Report, after: Report) -> Iterator[Difference]:
    sides = [
        {"load tester": report.arraymill, "plan": report.plan, "server": report.server, "machine": report.machine}
        for report in (before, after)
    ]
    first, second = (flat(side) for side in sides)
    for name in dict.fromkeys([*first, *second]):
        texts = [side.get(name) or _NONE for side in (first, second)]
        if texts[0] != texts[1] and name.rpartition(".")[2] not in _PASSING:
            yield Difference(name, *texts)


_NONE: Final = "–"
_PASSING: Final = frozenset({"title", "uptime_seconds"})
"""What may be another each time without a meaning for the figures."""


def flat(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return the leaves of a tree as texts, by their dotted names."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            inner = flat(cast("Mapping[str, Any]", value))
            leaves.update({f"{key}.{name}": text for name, text in inner.items()})
        else:
            leaves[key] = leaf_text(key, cast("object", value))
    return leaves


def leaf_text(name: str, value: object) -> str:
    """Return a value of a plan, a server or a machine for people."""
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _scalar_text(name, value)
    if isinstance(value, Mapping):
        told = cast("Mapping[str, object]", value)
        weight = f"*{told['weight']:g}" if isinstance(told.get("weight"), (int, float)) and told["weight"] != 1 else ""
        texts = (leaf_text(key, item) for key, item in told.items() if key != "weight" and item is not None)
        return " ".join(filter(None, texts)) + weight
    if isinstance(value, list):
        return ", ".join(leaf_text(name, item) for item in cast("list[object]", value))
    return str(value)


_OF_SECONDS: Final = frozenset({"duration", "warm_up", "timeout"})


def _scalar_text(name: str, value: float) -> str:
    if name.endswith("bytes"):
        return value_text(value, "bytes")
    if name.endswith("seconds") or name in _OF_SECONDS:
        return value_text(value, "seconds")
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _warnings(before: Report, after: Report, pairs: list[Pair]) -> Iterator[str]:
    for word, report in (("before", before), ("after", after)):
        if report.ended:
            yield f"The run {word} ended early: {report.ended}"
        if any(step.generator.is_limit for step in report.steps):
            yield f"The load tester was the limit in the run {word}: its figures are partly its own."
    if not pairs:
        yield "The runs have no step of the same load: there are no figures to compare."
        return
    if any((pair.before.rate is None) != (pair.after.rate is None) for pair in pairs):
        yield "One run is of a fixed rate, the other of clients that wait for answers: latencies mean different things."
    elif any((pair.before.rate, pair.before.clients) != (pair.after.rate, pair.after.clients) for pair in pairs):
        yield "The runs asked for different loads: a change of latency may come from that alone."
    if any(sum(step.errors.values()) * 100 > step.jobs for pair in pairs for step in (pair.before, pair.after)):
        yield "More than 1 % of jobs failed in one of the runs: latencies are those of the others."
    yield "One run of each: differences of some percent may be chance. Repeat both to know."
