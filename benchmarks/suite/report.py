"""A row's results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from suite.machine import warning
from suite.promises import Promise
from suite.quantities import digits
from suite.results import Results, Round
from suite.row import Row
from suite.sizes import size_text


def markdown(row: Row, results: Results) -> str:
    """Return the whole report of a row."""
    lines = [f"## {row.title}", "", _setting(results), ""]
    for each in results.sizes:
        if row.sizes_are_told:
            lines += [f"### {size_text(each.nbytes)}", ""]
        lines += [*_table(row, results, each), ""]
        lines += [f"- {label} took no part: {why}" for label, why in each.missing.items()]
        lines += [""] * bool(each.missing)
    lines += [f"- {verdict}" for verdict in verdicts(row, results)]
    return "\n".join(lines).rstrip("\n") + "\n"


def summary(rows: Mapping[str, Row], measured: Mapping[str, Results]) -> str:
    """Return the promises of all rows in one table, with what was measured of them."""
    lines = ["| row | promise | bound | measured | |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        results = measured.get(name)
        for promise in row.promises:
            told = (promise.measured(results), promise.word(results)) if results else ("", "not measured")
            lines.append(f"| [{row.title}](#{name}) | {promise.text} | {promise.bounds} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def verdicts(row: Row, results: Results) -> list[str]:
    """Return a line for each promise."""
    return [promise.verdict(results) for promise in row.promises]


def broken(row: Row, results: Results) -> list[Promise]:
    """Return the promises that are not kept; what was not measured is not among them."""
    return [promise for promise in row.promises if promise.is_kept(results) is False]


def _setting(results: Results) -> str:
    machine = results.machine
    counts = {len(each) for size in results.sizes for each in size.samples.values()} or {0}
    rounds = "–".join(map(str, sorted({min(counts), max(counts)})))
    return (
        f"{machine['date']}, {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, "
        f"{warning(machine) or 'quiet'}; "
        f"{rounds} rounds in turn after {results.warm_ups} to warm up. "
        "Ratios are the medians of the ratios of each round."
    )


def _table(row: Row, results: Results, size: Round) -> list[str]:
    first = row.entries[0].label
    heads = [row.quantity.name, "range", *(f"{each.name}, {each.unit}" for each in row.also), f"{first} ÷ it"]
    lines = [f"| | {' | '.join(heads)} |", f"|---{'|---' * len(heads)}|"]
    for label in size.samples:
        values = results.values(label, row.quantity, size.nbytes)
        ratio = results.ratio(first, label, row.quantity, size.nbytes)
        cells = [
            f"{label} (computes nothing)" if label in size.idle else label,
            row.quantity.show(statistics.median(values)),
            _range(values),
            *(digits(statistics.median(results.values(label, each, size.nbytes))) for each in row.also),
            "" if ratio is None else digits(ratio),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _range(values: Sequence[float]) -> str:
    return f"{digits(min(values))}–{digits(max(values))}"
