"""What the steps of a run have in common: their percentile curves, and latency by rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from arraymill.load._figures import figures, number_text, some_steps, step_name, value_text
from arraymill.load._plots import Line, Plot, quantile_place
from arraymill.load._report import QUANTILES, Distribution, Report, Step

_QUANTILE_COLORS: Final = {"p50": "blue", "p99": "orange", "p99.9": "purple"}


def curve_plot(curves: Sequence[tuple[str, Distribution | None, str | float]]) -> Plot:
    """Return percentile curves.

    Args:
        curves: Name, latency and colour of each.
    """
    known = [(name, latency, color) for name, latency, color in curves if latency is not None]
    groups = [_curve(name, latency, color) for name, latency, color in known]
    rows = [
        (f"{number_text(quantile * 100)} %", *(_quantile_text(latency, quantile) for _, latency, _ in known))
        for quantile in QUANTILES
    ]
    most = ("100 % (max)", *(value_text(latency.maximum, "seconds") for _, latency, _ in known))
    return Plot(
        "percentiles",
        "Percentile curve",
        "quantile",
        "seconds",
        groups,
        ("of jobs, at most", *(name for name, _, _ in known)),
        [*rows, most],
        "How long at most that part of all jobs took. Each further nine has as much room as the last.",
    )


def _quantile_text(latency: Distribution, quantile: float) -> str:
    return value_text(latency.quantiles.get(str(quantile)), "seconds")


def _curve(name: str, latency: Distribution, color: str | float) -> tuple[list[float], list[Line]]:
    points = latency.curve or [(float(text), value) for text, value in latency.quantiles.items()]
    points = sorted({**dict(points), 1.0: latency.maximum}.items())
    places: dict[float, float] = {}
    for quantile, value in points:
        places[round(quantile_place(quantile, latency.count), 4)] = value
    return list(places), [Line(name, color, list(places.values()))]


def step_curves(report: Report) -> Plot:
    """Return the percentile curve of each step: one colour for one step, a ramp from the lowest load to the highest."""
    steps = some_steps(report)
    if len(steps) == 1:
        return curve_plot([("latency", steps[0].latency, "blue"), *_service_curve(steps[0])])
    last = max(1, len(steps) - 1)
    return curve_plot([(step_name(step), step.latency, place / last) for place, step in enumerate(steps)])


def _service_curve(step: Step) -> list[tuple[str, Distribution | None, str | float]]:
    """Return what a load tester would tell that counts from the real send, where a rate was asked for."""
    return [] if step.rate is None else [("from the real send", step.service, "grey")]


def rate_plot(report: Report) -> Plot:
    """Return latency by load, with the knee marked; for runs of several steps."""
    steps = sorted(report.steps, key=_load)
    lines = [Line(name, color, _values(steps, name)) for name, color in _QUANTILE_COLORS.items()]
    names = ("throughput", *_QUANTILE_COLORS, "max", "errors")
    rows = [(f"{step_name(step)}{_knee(report, step)}", *_texts(step, names)) for step in steps]
    knee = [(report.knee, "knee")] if report.knee is not None and _is_open(steps) else []
    note = "The knee is the largest rate that the server held." if knee else ""
    header = ("asked for", "answered", *names[1:])
    groups = [([_load(step) for step in steps], lines)]
    return Plot("rate", _rate_title(steps), _rate_axis(steps), "seconds", groups, header, rows, note, knee)


def rates_plot(before: Report, after: Report) -> Plot:
    """Return p99 by load of two runs over each other, with both knees."""
    groups: list[tuple[list[float], list[Line]]] = []
    texts: list[dict[str, str]] = []
    for report, name, color in ((before, "before", "grey"), (after, "after", "blue")):
        steps = sorted(report.steps, key=_load)
        groups.append(([_load(step) for step in steps], [Line(f"p99 {name}", color, _values(steps, "p99"))]))
        texts.append({step_name(step): _texts(step, ("p99",))[0] for step in steps})
    steps = [*before.steps, *after.steps]
    told = ((before.knee, "knee before"), (after.knee, "knee after"))
    knees = sorted((knee, name) for knee, name in told if knee is not None and _is_open(steps))
    rows = [(name, *(column.get(name, "–") for column in texts)) for name in dict.fromkeys([*texts[0], *texts[1]])]
    header = ("asked for", "p99 before", "p99 after")
    return Plot("rate", _rate_title(steps), _rate_axis(steps), "seconds", groups, header, rows, "", knees)


def _is_open(steps: Sequence[Step]) -> bool:
    return all(step.rate is not None for step in steps)


def _rate_title(steps: Sequence[Step]) -> str:
    return "Rate against latency" if _is_open(steps) else "Clients against latency"


def _rate_axis(steps: Sequence[Step]) -> Literal["rate", "clients"]:
    return "rate" if _is_open(steps) else "clients"


def _values(steps: Sequence[Step], name: str) -> list[float | None]:
    return [figure.value for step in steps for figure in figures(step) if figure.name == name]


def _load(step: Step) -> float:
    return step.clients if step.rate is None else step.rate


def _knee(report: Report, step: Step) -> str:
    return " (knee)" if report.knee is not None and step.rate == report.knee else ""


def _texts(step: Step, names: Sequence[str]) -> list[str]:
    by_name = {figure.name: str(figure) for figure in figures(step)}
    return [by_name[name] for name in names]
