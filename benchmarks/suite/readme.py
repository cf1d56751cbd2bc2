"""README's table of figures, made from the result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from suite.machine import warning
from suite.quantities import digits
from suite.results import Results
from suite.row import Row
from suite.rows import ROWS
from suite.sizes import size_text

README: Final = Path(__file__).parents[2] / "README.md"
BEGIN: Final = "<!-- figures: make bench ARGS=--readme writes them from benchmarks/results -->\n"
END: Final = "<!-- end of figures -->\n"


def table(folder: Path) -> str:
    """Return the table of all rows that have results in a folder."""
    lines = ["| what | figure | beside others, in turn in the same run |", "|---|---|---|"]
    for name, row in ROWS.items():
        path = folder / f"{name}.json"
        if path.exists():
            lines += _lines(row, Results.load(path))
    lines += _memory(folder / "memory.json")
    return "\n".join(lines) + "\n"


def _lines(row: Row, results: Results) -> list[str]:
    """Return a row's line, of its first size and its first entry; none when that took no part."""
    first, size = row.entries[0].label, results.sizes[0]
    value = results.median(first, row.quantity)
    if value is None:
        return []
    title = f"{row.title}, {size_text(size.nbytes)}" if row.sizes_are_told else row.title
    figure = row.quantity.show(value)
    doubt = f" ({word})" if (word := warning(results.machine)) else ""
    others = [
        f"{digits(ratio)} × {label}{' (computes nothing)' * (label in size.idle)}"
        for label in size.samples
        if label != first and (ratio := results.ratio(first, label, row.quantity)) is not None
    ]
    measured = [(promise.text, promise.measure(results)) for promise in row.promises if not promise.is_beside]
    others += [f"{text}: {digits(number)}" for text, number in measured if number is not None]
    shown = figure if first == "arraymill" else f"{first}: {figure}"
    return [f"| {title}{doubt} | {shown} | {', '.join(others)} |"]


def _memory(path: Path) -> list[str]:
    """Return the line of `memory.py`."""
    if not path.exists():
        return []
    data = json.loads(path.read_text())
    beside = max(job["peak_mib"] for job in data["jobs"]) - data["arena_mib"]
    what = f"peak memory while {data['gibibytes']:g} GiB go through an arena of {data['arena_mib']:g} MiB"
    return [f"| {what} | arena + {beside:.0f} MiB | server, fork server and workers (PSS) |"]


def updated(text: str, content: str) -> str:
    """Return README with another table.

    Raises:
        ValueError: it has no place for one.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README has no lines {BEGIN.strip()} and {END.strip()}")
    return f"{head}{begin}{content}{end}{tail}"
