"""Reports of load tests in the terminal, and as JSON for programs: the figures alone, or before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from arraymill.cli._show import show_table
from arraymill.load._comparison import Change, compare
from arraymill.load._document import plain
from arraymill.load._figures import STAR_MEANS, figures, report_title, step_name
from arraymill.load._report import Report, Step
from arraymill.load._view import summary

_SHORT: Final = ("throughput", "p50", "p99", "p99.9", "max", "errors", "wrong")
"""What a comparison of several steps tells of each."""


def document(report: Report) -> object:
    """Return the figures of each step."""
    steps = [{"step": step_name(step), **_values(step)} for step in report.steps]
    return plain({"title": report.title, "steps": steps})


def _values(step: Step) -> dict[str, Any]:
    return {"figures": [{"name": each.name, "unit": each.unit, "value": each.value} for each in figures(step)]}


def comparison_document(before: Report, after: Report) -> object:
    """Return what was different, and the figures of both."""
    told = compare(before, after)
    return plain(
        {
            "differences": told.differences,
            "warnings": told.warnings,
            "knee": _change_value(told.knee) if told.knee else None,
            "steps": [{"step": pair.name, "figures": list(map(_change_value, pair.changes))} for pair in told.pairs],
        }
    )


def _change_value(change: Change) -> dict[str, Any]:
    return {
        "name": change.name,
        "unit": change.unit,
        "before": change.before.value,
        "after": change.after.value,
        "ratio": change.ratio,
        "effect": change.effect,
    }


def show(report: Report) -> None:
    """Print what the load test itself has printed."""
    click.echo(_printable(f"{report_title(report)} · {report.began}"))
    for line in summary(report):
        click.echo(_printable(line))


def show_comparison(before: Report, after: Report) -> None:
    """Print what was different, then before, after and ratio."""
    told = compare(before, after)
    for side, report in (("before:", before), ("after: ", after)):
        click.echo(_printable(f"{side} {report_title(report)} · {report.began}"))
    click.echo("\nWhat was different:" if told.differences else "\nNothing was different in plan, server and machine.")
    if told.differences:
        texts = [(each.name, each.before, each.after) for each in told.differences]
        show_table(("", "before", "after"), [tuple(map(_printable, row)) for row in texts])
    if told.knee:
        _, first, second, _, words = told.knee.texts()
        click.echo(f"\nknee: {first} before, {second} after{f' ({words})' if words else ''}")
    for pair in told.pairs:
        click.echo()
        shown = [change for change in pair.changes if len(told.pairs) == 1 or change.name in _SHORT]
        _columns([pair.name, "before", "after", "ratio", ""], [change.texts() for change in shown], words=1)
    click.echo()
    if any(change.is_starred for pair in told.pairs for change in pair.changes):
        click.echo(STAR_MEANS)
    click.echo("\n".join(map(_printable, told.warnings)))


def _printable(text: str) -> str:
    """Return a text of a document without what would move a terminal's cursor, or that it cannot show."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 0) -> None:
    """Print texts of numbers in aligned columns, all but the first and some last ones to the right."""
    numbers = range(1, len(header) - words)
    widths = {place: max(len(line[place]) for line in (header, *rows)) for place in numbers}
    lines = [
        [text.rjust(widths[place]) if place in widths else text for place, text in enumerate(line)]
        for line in (header, *rows)
    ]
    show_table(lines[0], lines[1:])
