"""A view as the lines of a terminal, of any width and height, and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from arraymill.cli.top._facts import JOB_HEADER, Row, job_cells, rows_of, title_of, trouble_of
from arraymill.cli.top._meter import View

LABEL_CHARS: Final = 10
"""The longest label, and a space."""

BAR_SHARE: Final = 5
"""A bar takes one of so many parts of a line."""

MOST_BAR_CHARS: Final = 30

LEAST_WIDTH_FOR_BARS: Final = 50
"""Columns below which only numbers are shown."""

LEAST_JOBS: Final = 3
"""Jobs for which there is room before what is least important of the others is shown, if there are so many."""

_LEVELS: Final = ((0.7, "green"), (0.9, "yellow"), (2.0, "red"))
"""How a bar is coloured that is so full at most."""

_CELLS: Final = (16, 7, 4, 5)
"""Columns of a job before its state: as wide as what is usual there."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars and histories are drawn with."""

    parts: tuple[str, ...]
    """Of the parts of a whole, one after the other."""
    rest: str
    steps: str
    """From little to much."""
    more: str
    """Where something was cut off."""


UNICODE: Final = Glyphs(("█", "▓"), "░", "▁▂▃▄▅▆▇█", "…")
ASCII: Final = Glyphs(("#", "+"), ".", "_.-=+*#@", "~")


def frame(view: View, keys: str, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[Text]:
    """Return the lines of a terminal: at most as many as it has, none longer than it is wide.

    Args:
        view: What to show.
        keys: What the keys do; in the first line, as far as there is room.
        width: Columns.
        height: Lines.
        glyphs: What to draw with.
    """
    lines = [_title(_shown(title_of(view), glyphs), keys, width)]
    if trouble := trouble_of(view):
        lines.append(Text.assemble((_shown(trouble, glyphs), "bold red")))
    jobs = [[_shown(cell, glyphs) for cell in job_cells(status)] for status in view.jobs]
    room = height - len(lines)
    rows = _chosen(rows_of(view), room - (min(len(jobs), LEAST_JOBS) + 2 if jobs else 0))
    lines += [_line(row, width, glyphs) for row in rows]
    lines += _job_lines(jobs, height - len(lines), glyphs, has_more=view.has_more_jobs)
    for line in lines:
        _cut(line, width, glyphs)
    return lines[:height]


def plain_frame(view: View) -> Iterator[str]:
    """Yield the lines of everything that is known, however wide."""
    yield _shown(title_of(view))
    if trouble := trouble_of(view):
        yield _shown(trouble)
    for row in rows_of(view):
        yield f"{row.label:<{LABEL_CHARS}}{_shown(row.text)}"
    if view.jobs:
        yield ""
        yield from (line.plain for line in _table([list(map(_shown, job_cells(status))) for status in view.jobs]))
        if view.has_more_jobs:
            yield f"{UNICODE.more} and more"


def _chosen(rows: Sequence[Row], room: int) -> list[Row]:
    """Leave out what is least important until the others have room."""
    kept = sorted(rows, key=lambda row: row.rank)[: max(room, 0)]
    return [row for row in rows if row in kept]


def _title(title: str, keys: str, width: int) -> Text:
    line = Text.assemble((title, "bold"))
    gap = width - line.cell_len - cell_len(keys)
    if gap >= 2:
        line.append(" " * gap)
        line.append(keys, "dim")
    return line


def _line(row: Row, width: int, glyphs: Glyphs) -> Text:
    line = Text.assemble((f"{row.label:<{LABEL_CHARS}}", "bold"))
    if width >= LEAST_WIDTH_FOR_BARS:
        chars = min(width // BAR_SHARE, MOST_BAR_CHARS)
        line.append_text(_bar(row.shares, chars, glyphs) if row.shares else _sparkline(row.history, chars, glyphs))
        line.append("  ")
    return line.append(_shown(row.text, glyphs))


def _bar(shares: Sequence[float], chars: int, glyphs: Glyphs) -> Text:
    """Draw parts of a whole; what there is at all takes one cell at least."""
    bar, done, total = Text(), 0, 0.0
    style = next(name for most, name in _LEVELS if sum(shares) <= most)
    for share, glyph in zip(shares, glyphs.parts, strict=False):
        total += share
        end = max(round(total * chars), done + (share > 0))
        bar.append(glyph * min(end - done, chars - done), style)
        done = min(end, chars)
    return bar.append(glyphs.rest * (chars - done), "dim")


def _sparkline(history: Sequence[float], chars: int, glyphs: Glyphs) -> Text:
    """Draw the last numbers, the largest as high as a line is; nothing is drawn as a space."""
    shown = history[-chars:]
    most = max(shown, default=0.0)
    top = len(glyphs.steps) - 1
    steps = (glyphs.steps[round(top * value / most)] if value > 0 else " " for value in shown)
    return Text("".join(steps).rjust(chars), "cyan")


def _job_lines(jobs: Sequence[Sequence[str]], room: int, glyphs: Glyphs, *, has_more: bool) -> list[Text]:
    """Draw as many jobs as there is room for, below an empty line and a header; else how many there are."""
    if not jobs or room < len(("empty", "header", "job")):
        return []
    fitting = room - 2
    if len(jobs) > fitting or has_more:
        jobs = jobs[: max(fitting - 1, 0)]
        return [Text(), *_table(jobs), Text(f"{glyphs.more} and more", "dim")]
    return [Text(), *_table(jobs)]


def _table(jobs: Sequence[Sequence[str]]) -> list[Text]:
    longest = max((cell_len(cells[-2]) for cells in jobs), default=0)
    return [Text(_cells(JOB_HEADER, longest), "reverse"), *(Text(_cells(cells, longest)) for cells in jobs)]


def _cells(cells: Sequence[str], longest: int) -> str:
    """Put cells into columns: the id to the left, numbers to the right, then the state and the key."""
    id, *numbers = (
        set_cell_size(text, width) if index == 0 else text.rjust(width)
        for index, (text, width) in enumerate(zip(cells, _CELLS, strict=False))
    )
    return "  ".join((id, *numbers, cells[-2].ljust(longest), cells[-1]))


def _cut(line: Text, width: int, glyphs: Glyphs) -> None:
    if line.cell_len > width:
        line.truncate(max(width - 1, 0))
        line.append(glyphs.more[: min(width, 1)])


def _shown(text: str, glyphs: Glyphs = UNICODE) -> str:
    """Return what a server said without what would move a cursor, or what the terminal has no characters for."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain if glyphs is UNICODE else plain.encode("ascii", "replace").decode()
