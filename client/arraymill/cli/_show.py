"""Values as text: for people, and as JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import cast

import click
import numpy as np

from arraymill._layout import AnyArray


def show_value(value: AnyArray | np.generic, *, as_json: bool) -> None:
    """Print a result: numbers in full as NumPy prints them, long arrays summarised; as JSON every element."""
    if as_json:
        array = np.asarray(value)
        show_json({"shape": array.shape, "dtype": array.dtype.name, "value": plain(array.tolist())})
    elif isinstance(value, np.ndarray):
        click.echo(np.array2string(value))
    else:
        click.echo(str(value))


def show_json(document: object) -> None:
    """Print one JSON document on one line."""
    click.echo(json.dumps(document, allow_nan=False))


def plain(value: object) -> object:
    """Return nested lists of numbers as JSON can say them.

    JSON has neither NaN nor infinities, which become "nan", "inf" and "-inf", nor complex numbers, which become
    [real, imaginary].
    """
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, fit: bool = False) -> None:
    """Print aligned columns: numbers to the right, the last column as long as it is.

    Args:
        header: Names of the columns.
        rows: As many entries in each.
        fit: Cut what a terminal would break into two lines.
    """
    longest = get_terminal_size().columns if fit and sys.stdout.isatty() else None
    texts = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for number, line in enumerate(texts):
        cells = [
            text.rjust(width) if number and isinstance(rows[number - 1][place], (int, float)) else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo(_cut("  ".join(cells).rstrip(), longest))


def _cut(line: str, longest: int | None) -> str:
    return line if longest is None or len(line) <= longest else f"{line[: longest - 1]}…"


def seconds_text(seconds: float) -> str:
    """Return a duration for people: 12 ms, 1.25 s, 3:05, 2:00:00."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as NumPy prints it."""
    return str(tuple(shape))
