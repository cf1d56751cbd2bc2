"""The page of one run, from its verdicts to its set-up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from arraymill.load._comparison import flat
from arraymill.load._figures import (
    STAR_MEANS,
    clock_text,
    figures,
    knee_text,
    measured_text,
    number_text,
    report_title,
    seconds_text,
    some_steps,
    step_name,
    telling_step,
    value_text,
)
from arraymill.load._markup import Markup, element, join, table
from arraymill.load._parts import parts_section, phases_section
from arraymill.load._plots import Plot, plots_section
from arraymill.load._report import Report, Step, Verdict
from arraymill.load._step_plots import rate_plot, step_curves
from arraymill.load._timeline import latency_plot, server_plots, throughput_plots, timeline

_CARDS: Final = ("throughput", "data rate", "p50", "p99", "p99.9", "max")


def report_body(report: Report) -> tuple[Markup, list[Plot]]:
    """Return the body of the page, and the plots in it."""
    course = timeline(report)
    latency, curve = latency_plot(course), step_curves(report)
    throughput, server = throughput_plots(course), server_plots(course)
    by_rate = [rate_plot(report)] if len(report.steps) > 1 else []
    telling = telling_step(report)
    named = _named(report.steps)
    hint = "Drag over a plot to see a part of it, double-click to see all."
    body = element(
        "main",
        _verdicts(report),
        _cards(report, telling),
        figures_section(named),
        plots_section("Latency", [latency, curve, *by_rate], note=hint),
        plots_section("Throughput", throughput, class_="pair"),
        phases_section(_named(some_steps(report))),
        parts_section(telling, step_name(telling) if len(named) > 1 else "") if telling else "",
        _generator_section(named),
        plots_section("The server meanwhile", server, class_="pair") if server else "",
        setup_section(report),
    )
    head = page_head("Load test", report_title(report), run_line(report), plan_line(report))
    return join([head, body, page_foot(report)]), [latency, curve, *by_rate, *throughput, *server]


def page_head(kind: str, title: str, *lines: str) -> Markup:
    """Return the head of a page; its button works with the script only."""
    below = (element("p", line, class_="below") for line in lines if line)
    words = element("div", element("div", kind, class_="kind"), element("h1", title), below)
    return element("header", words, element("button", "Dark", class_="theme", type="button", hidden=""))


def page_foot(report: Report) -> Markup:
    """Return the last line."""
    words = f"arraymill {report.arraymill}. Durations count from the intended send unless it says otherwise."
    return element("footer", element("p", words))


def run_line(report: Report) -> str:
    """Return when and against what a run was made."""
    try:
        began = datetime.fromisoformat(report.began).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):
        began = report.began
    told = [began, *(f"{word} {report.server[key]}" for word, key in _SERVER_WORDS if key in report.server)]
    cpus = [f"load tester of {report.machine['cpus']} cpus"] if "cpus" in report.machine else []
    seconds = sum(step.seconds for step in report.steps)
    return _in_line([*told, *cpus, f"{seconds_text(seconds) if seconds < 100 else clock_text(seconds)} of load"])


def _in_line(texts: Sequence[str]) -> str:
    """Return short texts as one line that breaks between them only."""
    return " · ".join(text.replace(" ", "\u00a0") if len(text) <= _SHORT else text for text in texts)


def plan_line(report: Report) -> str:
    """Return the short ones of what was asked for; the page's end tells all."""
    leaves = [(name, text) for name, text in flat(report.plan).items() if name != "title" and text not in ("", "–")]
    short = [f"{name.replace('_', ' ')} {text}" for name, text in leaves if len(name) + len(text) <= _SHORT]
    return _in_line(short[:_MOST_SHORT])


_SHORT: Final = 32
_MOST_SHORT: Final = 10
_SERVER_WORDS: Final = (("server", "address"), ("arraymill", "version"), ("workers", "workers"))


def _named(steps: Sequence[Step]) -> list[tuple[str, Step]]:
    return [(step_name(step) if len(steps) > 1 else "", step) for step in steps]


def _verdicts(report: Report) -> Markup:
    return element("ul", _verdict_lines(report), class_="verdicts")


def _verdict_lines(report: Report) -> Iterator[Markup]:
    """Yield what a reader must know before any figure, the worst first."""
    failed = [verdict for verdict in report.verdicts if verdict.is_met]
    wrong = sum(step.wrong for step in report.steps)
    if failed:
        yield _line("bad", "Failed", "; ".join(map(_verdict_text, failed)))
    if wrong:
        yield _line("bad", "Wrong answers", f"{number_text(wrong)} of {_checked(report)} differ from NumPy's")
    if not any(step.jobs for step in report.steps):
        yield _line("bad", "No job ended well", "there are no latencies to show")
    if report.ended:
        yield _line("warn", "Ended early", report.ended)
    yield from _limit_line([(name, step) for name, step in _named(report.steps) if step.generator.is_limit])
    held = [verdict for verdict in report.verdicts if not verdict.is_met]
    if held:
        yield _line("plain" if failed else "good", "Passed", "; ".join(map(_verdict_text, held)))
    if report.knee is not None:
        yield _line("plain", "Knee", f"the server held {knee_text(report)}")
    elif len(report.steps) > 1 and report.steps[0].rate is not None:
        yield _line("plain", "No knee", "it is below the first rate, or was not found")


def _limit_line(limited: Sequence[tuple[str, Step]]) -> Iterator[Markup]:
    if limited:
        names = [name for name, _ in limited if name]
        some = (
            f"{', '.join(names[:_MOST_NAMES])}{f' and {len(names) - _MOST_NAMES} more' if names[_MOST_NAMES:] else ''}"
        )
        head = f"The load tester was the limit{f' at {some}' if names else ''}"
        yield _line("warn", head, limited[-1][1].generator.reason)


_MOST_NAMES: Final = 5


def _line(kind: str, head: str, words: str) -> Markup:
    return element("li", element("strong", f"{head}: "), words, class_=kind)


def _verdict_text(verdict: Verdict) -> str:
    """Return a condition and what was measured, in the unit of what it names."""
    return f"{'' if verdict.is_met else 'not '}{verdict.condition} ({measured_text(verdict)} measured)"


def _checked(report: Report) -> str:
    return f"{number_text(sum(step.checked for step in report.steps))} checked answers"


def _cards(report: Report, step: Step | None) -> Markup:
    if step is None:
        return Markup()
    by_name = {figure.name: figure for figure in figures(step)}
    cards = [(name, str(by_name[name]), "") for name in _CARDS]
    errors = by_name["errors"]
    cards.append(("errors", str(errors), "bad" if errors.value else ""))
    cards.append(("answers checked", str(by_name["checked"]), ""))
    shown = (
        element("div", element("dt", name), element("dd", text, class_=kind or None), class_="card")
        for name, text, kind in cards
    )
    several = len(report.steps) > 1
    is_knee = several and step.rate is not None and step.rate == report.knee
    title = f"At {step_name(step)}{', the knee' if is_knee else ''}" if several else ""
    head = [element("p", title, class_="note cards-of")] if title else []
    return join([head, element("dl", shown, class_="cards")])


_TABLES: Final = (
    ("latency", ("p50", "p75", "p90", "p95", "p99", "p99.9", "max", "mean")),
    ("answers", ("throughput", "data rate", "jobs", "errors", "error share", "checked", "wrong")),
)


def figures_section(named: Sequence[tuple[str, Step]]) -> Markup:
    """Return the tables of figures, a row for each step, and the errors by reason."""
    told = [(name or step_name(step), {figure.name: figure for figure in figures(step)}) for name, step in named]
    tables = [
        table((title, *columns), [(name, *(figure[column].starred() for column in columns)) for name, figure in told])
        for title, columns in _TABLES
    ]
    is_starred = any(figure.is_starred for _, by_name in told for figure in by_name.values())
    note = element("p", STAR_MEANS, class_="note") if is_starred else ""
    return element("section", element("h2", "Figures"), tables, errors_table(named), note)


def errors_table(named: Sequence[tuple[str, Step]]) -> Markup:
    """Return the errors by reason, the most frequent first; nothing where there are none."""
    rows = [
        (
            reason,
            *([name] if name else []),
            number_text(count),
            value_text(count / (step.jobs + sum(step.errors.values())), "share"),
        )
        for name, step in named
        for reason, count in sorted(step.errors.items(), key=lambda item: -item[1])
        if count > 0
    ]
    if not rows:
        return Markup()
    header = ("errors", *(["at"] if named[0][0] else []), "jobs", "of all")
    return table(header, rows)


def _generator_section(named: Sequence[tuple[str, Step]]) -> Markup:
    rows = [
        (
            name or step_name(step),
            number_text(step.generator.processes),
            value_text(step.generator.cpu_share, "share"),
            value_text(step.generator.sent_per_second, "per second"),
            *(value_text(value, "seconds") for value in _late(step)),
            "yes" if step.generator.is_limit else "no",
        )
        for name, step in named
    ]
    header = ("load", "processes", "busiest processor", "sent", "late, p50", "late, p99", "late, max", "was the limit")
    note = element("p", "Late: from the intended send to the real one.", class_="note")
    return element("section", element("h2", "The load tester itself"), note, table(header, rows))


def _late(step: Step) -> tuple[float | None, float | None, float | None]:
    late = step.generator.late
    return (None, None, None) if late is None else (late.quantiles.get("0.5"), late.quantiles.get("0.99"), late.maximum)


def setup_section(report: Report, title: str = "Set-up") -> Markup:
    """Return what was asked for, of whom and from where."""
    trees = (("Plan", report.plan), ("Server", report.server), ("Load tester", report.machine))
    cards = (element("figure", element("h3", name), facts(tree)) for name, tree in trees)
    return element("section", element("h2", title), element("div", cards, class_="fact-cards"))


def facts(tree: Mapping[str, Any]) -> Markup:
    """Return a tree of values as a list of names and texts."""
    leaves = {name: text for name, text in flat(tree).items() if text not in ("", "–")}
    pairs = ((element("dt", name.replace("_", " ")), element("dd", text)) for name, text in leaves.items())
    return element("dl", pairs, class_="facts") if leaves else element("p", "Nothing was told.", class_="note")
