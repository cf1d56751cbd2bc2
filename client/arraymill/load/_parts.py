"""Where the time of a step's jobs went: by phase, and by entry of the mix; drawn without a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from arraymill.load._figures import number_text, value_text
from arraymill.load._markup import Markup, element, table
from arraymill.load._report import PHASES, Distribution, Part, Step

MOST_APART: Final = 4
"""Times further apart are drawn as shares: beside the longest bar the others would show nothing."""

_MEANINGS: Final = {
    "queued": "waited in the server for a place or for memory",
    "received": "arrays travelled to the server",
    "computed": "workers computed",
    "merged": "results of blocks were joined",
    "sent": "results travelled to the client",
    "elsewhere": "client, calls and what the server does not count",
}


def phases_section(named: Sequence[tuple[str, Step]]) -> Markup:
    """Return how the mean time of a job is made up, a bar for each step.

    Args:
        named: The steps and what they are called; one alone needs no name.
    """
    told = [(name, step) for name, step in named if step.phases]
    title = element("h2", "Time split")
    if not told:
        words = "The server did not tell how its jobs spent their time."
        return element("section", title, element("p", words, class_="note"))
    known = [phase for phase in PHASES if any(phase in step.phases for _, step in told)]
    totals = [_total(step) for _, step in told]
    is_share = max(totals) > MOST_APART * min(totals)
    whole = "; each bar is the whole of its time" if is_share else ""
    words = f"What the mean time of a job, from sending to its answer, is made up of{whole}."
    bars = (_bar_row(name, step, known, _total(step) if is_share else max(totals)) for name, step in told)
    note = element("p", words, class_="note")
    header = ("phase", "share", "mean", "p50", "p99", "max", "meaning")
    rows = [row for name, step in told for row in _phase_rows(name, step, known)]
    details = element("details", element("summary", "As a table"), table(header, rows, class_="worded"))
    return element(
        "section", title, element("figure", note, _legend(known), element("div", bars, class_="bars"), details)
    )


def _legend(phases: Sequence[str]) -> Markup:
    swatches = ((phase, element("span", class_=f"swatch phase-{phase}")) for phase in phases)
    return element("ul", (element("li", swatch, phase) for phase, swatch in swatches), class_="legend")


def _total(step: Step) -> float:
    return sum(step.phases[phase].mean for phase in PHASES if phase in step.phases)


def _bar_row(name: str, step: Step, phases: Sequence[str], whole: float) -> Markup:
    x = 0.0
    pieces: list[Markup] = []
    for phase in phases:
        if phase not in step.phases or whole <= 0:
            continue
        mean = step.phases[phase].mean
        width = mean / whole * 100
        rect = element("rect", x=f"{x:.3f}%", width=f"{width:.3f}%", height="100%", class_=f"phase-{phase}")
        pieces.append(element("g", element("title", f"{phase}: {value_text(mean, 'seconds')}"), rect))
        x += width
    bar = element("svg", pieces, class_="bar", role="img", aria_label=f"Time split {name}".strip())
    total = element("span", value_text(_total(step), "seconds"), class_="bar-total")
    return element("div", element("span", name, class_="bar-name"), bar, total, class_="bar-row")


def _phase_rows(name: str, step: Step, phases: Sequence[str]) -> list[Sequence[str]]:
    total = _total(step)
    return [
        (
            f"{name}: {phase}" if name else phase,
            value_text(told.mean / total if total else None, "share"),
            *_times(told, ("mean", "0.5", "0.99", "max")),
            _MEANINGS[phase],
        )
        for phase in phases
        if (told := step.phases.get(phase)) is not None
    ]


def _times(phase: Distribution | None, names: Sequence[str]) -> list[str]:
    if phase is None:
        return ["–" for _ in names]
    values = {"mean": phase.mean, "max": phase.maximum, **phase.quantiles}
    return [value_text(values.get(name), "seconds") for name in names]


def parts_section(step: Step, name: str) -> Markup:
    """Return the entries of the mix in one step, with a bar from p50 to max for each."""
    title = element("h2", f"By entry of the mix, at {name}" if name else "By entry of the mix")
    if not step.parts:
        return element("section", title, element("p", "No job was sent.", class_="note"))
    header = ("entry", "jobs", "errors", "data", "p50", "p99", "p99.9", "max", "p50 to max")
    low, high = _bounds(step.parts)
    rows = (_part_row(part, low, high) for part in step.parts)
    words = "Bars go from p50 to p99, thin lines on to max, on a logarithmic scale that all share."
    head = element("thead", element("tr", (element("th", text, scope="col") for text in header)))
    whole = element("div", element("table", head, element("tbody", rows)), class_="scroll", tabindex="0")
    return element("section", title, element("p", words, class_="note"), whole)


def _part_row(part: Part, low: float, high: float) -> Markup:
    texts = (
        element("td", text, class_="wraps" if place == 1 else None) for place, text in enumerate(_part_texts(part))
    )
    bar = element("td", _range_bar(part.latency, low, high), class_="range")
    return element("tr", element("th", part.name, scope="row"), texts, bar)


def _part_texts(part: Part) -> list[str]:
    errors = ", ".join(f"{number_text(count)} {reason}" for reason, count in part.errors.items() if count) or "0"
    return [
        number_text(part.jobs),
        errors,
        value_text(part.bytes, "bytes"),
        *_times(part.latency, ("0.5", "0.99", "0.999", "max")),
    ]


def _bounds(parts: Sequence[Part]) -> tuple[float, float]:
    known = [part.latency for part in parts if part.latency]
    low = min((value for latency in known if (value := latency.quantiles.get("0.5", 0)) > 0), default=1e-6)
    high = max((latency.maximum for latency in known), default=1.0)
    return low / 1.2, max(high, low * 2) * 1.2


def _range_bar(latency: Distribution | None, low: float, high: float) -> Markup:
    if latency is None:
        return Markup()

    def place(seconds: float) -> float:
        share = math.log(max(seconds, low) / low) / math.log(high / low)
        return round(min(max(share, 0), 1) * 100, 2)

    begin, end = place(latency.quantiles.get("0.5", latency.minimum)), place(latency.maximum)
    mark = place(latency.quantiles.get("0.99", latency.maximum))
    return element(
        "svg",
        element("rect", class_="range-line", x=f"{begin}%", y="7", width=f"{max(end - begin, 0.5)}%", height="2"),
        element("rect", class_="range-bar", x=f"{begin}%", y="4", width=f"{max(mark - begin, 0.5)}%", height="8"),
        class_="range",
        aria_hidden="true",
    )
