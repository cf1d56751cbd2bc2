"""The page of two runs over each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from arraymill.load._comparison import Change, Comparison, Difference, Pair, compare
from arraymill.load._figures import STAR_MEANS, report_title, value_text
from arraymill.load._html_report import page_foot, page_head, run_line, setup_section
from arraymill.load._markup import Markup, element, join, table
from arraymill.load._parts import phases_section
from arraymill.load._plots import Plot, plots_section
from arraymill.load._report import Part, Report
from arraymill.load._step_plots import curve_plot, rates_plot
from arraymill.load._timeline import courses_plot, timeline

_SIDES: Final = ("before", "after")


def comparison_body(before: Report, after: Report) -> tuple[Markup, list[Plot]]:
    """Return the body of the page, and the plots in it."""
    told = compare(before, after)
    pair = told.telling_pair()
    latency, throughput = _latency_plots(before, after, pair), _throughput_plots(before, after)
    body = element(
        "main",
        _runs(before, after),
        _warnings(told),
        _differences(told.differences),
        _figures(told, pair) if pair else "",
        plots_section("Latency", latency),
        plots_section("Throughput", throughput, class_="pair"),
        phases_section(list(zip(_SIDES, (pair.before, pair.after), strict=True))) if pair else "",
        _parts(pair) if pair else "",
        setup_section(before, "Set-up before"),
        setup_section(after, "Set-up after"),
    )
    head = page_head("Comparison of two load tests", _title(before, after), "")
    return join([head, body, page_foot(after)]), [*latency, *throughput]


def _title(before: Report, after: Report) -> str:
    return " → ".join(dict.fromkeys(map(report_title, (before, after))))


def _runs(before: Report, after: Report) -> Markup:
    rows = (
        element(
            "div", element("dt", side), element("dd", element("strong", report_title(report)), " · ", run_line(report))
        )
        for side, report in zip(_SIDES, (before, after), strict=True)
    )
    return element("dl", rows, class_="runs")


def _warnings(told: Comparison) -> Markup:
    lines = [element("li", warning, class_="warn") for warning in told.warnings]
    if told.knee:
        _, before, after, _, words = told.knee.texts()
        line = f"{before} before, {after} after{f' ({words})' if words else ''}"
        lines.append(element("li", element("strong", "Knee: "), line, class_="plain"))
    return element("ul", lines, class_="verdicts")


def _differences(differences: list[Difference]) -> Markup:
    title = element("h2", "What was different")
    if not differences:
        words = (
            "Nothing in what was asked for, in the server or in the machine of the load tester, as far as they tell."
        )
        return element("section", title, element("p", words, class_="note"))
    rows = [(each.name.replace("_", " "), each.before, each.after) for each in differences]
    return element("section", title, table(("", *_SIDES), rows, class_="differences"))


def _figures(told: Comparison, pair: Pair) -> Markup:
    """Return the figures of the pair that tells most; the others one line each, and all of theirs to be opened."""
    title = element("h2", f"Figures at {pair.name}")
    if len(told.pairs) == 1:
        return element("section", title, _changes(pair))
    header = ("load", *(f"{name} {side}" for name in _OVERVIEW for side in (*_SIDES, "ratio")))
    rows = [(each.name, *_overview(each)) for each in told.pairs]
    others = (
        element("details", element("summary", f"Figures at {each.name}"), _changes(each))
        for each in told.pairs
        if each is not pair
    )
    overview = element("section", element("h2", "Load by load"), table(header, rows))
    return join([overview, element("section", title, _changes(pair), others)])


_OVERVIEW: Final = ("throughput", "p50", "p99")


def _overview(pair: Pair) -> list[str]:
    by_name = {change.name: change.texts()[1:4] for change in pair.changes}
    return [text for name in _OVERVIEW for text in by_name[name]]


def _changes(pair: Pair) -> Markup:
    header = ("figure", *_SIDES, "ratio", "change")
    head = element("thead", element("tr", (element("th", text, scope="col") for text in header)))
    rows = element("tbody", map(_change_row, pair.changes))
    whole = element("div", element("table", head, rows, class_="changes"), class_="scroll", tabindex="0")
    is_starred = any(change.is_starred for change in pair.changes)
    return join([whole, element("p", STAR_MEANS, class_="note") if is_starred else ""])


def _change_row(change: Change) -> Markup:
    name, *numbers, words = change.texts()
    cells = (element("td", text) for text in numbers)
    kind = {"better": "words good", "worse": "words bad"}.get(change.effect, "words")
    return element("tr", element("th", name, scope="row"), cells, element("td", words, class_=kind))


def _latency_plots(before: Report, after: Report, pair: Pair | None) -> list[Plot]:
    courses = list(zip(_SIDES, (timeline(before), timeline(after)), strict=True))
    plots = [courses_plot("latency", "p99 over time", "seconds", courses, lambda second: second.p99)]
    if pair:
        curve = curve_plot([("before", pair.before.latency, "grey"), ("after", pair.after.latency, "blue")])
        plots.append(replace(curve, title=f"{curve.title}, at {pair.name}"))
    if len(before.steps) > 1 and len(after.steps) > 1:
        plots.append(rates_plot(before, after))
    return plots


def _throughput_plots(before: Report, after: Report) -> list[Plot]:
    courses = list(zip(_SIDES, (timeline(before), timeline(after)), strict=True))
    return [
        courses_plot(
            "jobs", "Jobs per second", "per second", courses, lambda second: second.jobs / (second.seconds or 1)
        ),
        courses_plot(
            "bytes", "Data per second", "bytes per second", courses, lambda second: second.bytes / (second.seconds or 1)
        ),
    ]


def _parts(pair: Pair) -> Markup:
    """Return the entries of the mix that both runs had."""
    later = {part.name: part for part in pair.after.parts}
    shared = [(part, later[part.name]) for part in pair.before.parts if part.name in later]
    if not shared:
        return Markup()
    rows = [
        (before.name, *(text for name in ("0.5", "0.99") for text in _quantiles(before, after, name)))
        for before, after in shared
    ]
    header = ("entry", "p50 before", "p50 after", "ratio", "p99 before", "p99 after", "ratio")
    return element("section", element("h2", f"By entry of the mix, at {pair.name}"), table(header, rows))


def _quantiles(before: Part, after: Part, name: str) -> tuple[str, str, str]:
    first, second = (part.latency.quantiles.get(name) if part.latency else None for part in (before, after))
    ratio = f"{second / first:.2f}" if first and second is not None else "–"
    return value_text(first, "seconds"), value_text(second, "seconds"), ratio
