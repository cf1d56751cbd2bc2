"""What several commands can be told, and how its text is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import click
import numpy as np

from arraymill._text.vocabulary import DTYPES
from arraymill.cli._errors import check_output


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command that talks to a server can be told."""

    server: str | None
    """Address; None for ARRAYMILL_SERVER, else localhost:50051."""
    timeout: float | None
    """Seconds."""
    quiet: bool
    as_json: bool


def connected(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Settings`, which it takes as its first argument."""

    @click.option("--server", metavar="ADDRESS", help="host:port or unix:/path [$ARRAYMILL_SERVER or localhost:50051].")
    @click.option("--timeout", type=SECONDS, metavar="SECONDS", help="The server stops the work when they have passed.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress bar, no word about success.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
    @functools.wraps(function)
    def command(server: str | None, timeout: float | None, quiet: bool, as_json: bool, **rest: Any) -> None:
        function(Settings(server, timeout, quiet, as_json), **rest)

    return command


def read_axis(text: str) -> int | tuple[int, ...]:
    """Read an axis, or several separated by commas."""
    inner = text.strip("() ,")
    try:
        axes = tuple(map(int, inner.split(","))) if inner else ()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no axis: give a number, or several as 0,1") from None
    return axes[0] if len(axes) == 1 else axes


def read_constant(text: str) -> int | float | complex:
    """Read a Python number."""
    number = read_number(text)
    if number is None:
        raise click.BadParameter(f"{text!r} is no number")
    return number


def read_dtype(text: str) -> np.dtype[Any]:
    """Read the name of a dtype."""
    if text not in DTYPES:
        known = sorted({dtype.name for dtype in DTYPES.values()})
        raise click.BadParameter(f"{text!r} is no dtype; there are {', '.join(known)}")
    return DTYPES[text]


def read_number(text: str) -> int | float | complex | None:
    """Return the number that a text means, or None."""
    for kind in (int, float, complex):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


class _Output(click.Path):
    """A file to be written: that its directory takes it is checked before anything is waited for."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path.

        Raises:
            InputError: It is not to be written.
        """
        if str(value) in ("", "-"):
            self.fail("name a file: it is not written to stdout", param, ctx)
        path = cast("Path", super().convert(value, param, ctx))
        check_output(path)
        return path


SECONDS: Final = click.FloatRange(min=0, min_open=True)
OUTPUT: Final = _Output()

PARAMS: Final[dict[str, Callable[[Callable[..., None]], Callable[..., None]]]] = {
    "axis": click.option("--axis", type=read_axis, metavar="AXIS", help="Axis or axes, as 0 or 0,1; all without it."),
    "dtype": click.option("--dtype", type=read_dtype, metavar="DTYPE", help="Type to compute in and of the result."),
    "ddof": click.option("--ddof", type=float, help="Divide by n - ddof."),
    "keepdims": click.option("--keepdims", is_flag=True, default=None, help="Keep reduced axes, with length 1."),
    "initial": click.option("--initial", type=read_constant, metavar="NUMBER", help="Start from this number."),
    "where": click.option("--where", metavar="FILE", help="Boolean array: take only elements where it is true."),
    "decimals": click.option("--decimals", type=int, help="Round to so many decimals."),
    "min": click.option("--min", metavar="FILE|NUMBER", help="Lower bounds."),
    "max": click.option("--max", metavar="FILE|NUMBER", help="Upper bounds."),
    "part": click.option("--part", type=click.IntRange(0, 1), help="Which of two results."),
}
"""The option of each parameter of the catalogue."""
