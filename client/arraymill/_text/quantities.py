"""Quantities that people write: 1MiB, 50ms, 5%."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from arraymill._text.errors import InputError

BYTES: Final[Mapping[str, float]] = {
    "B": 1,
    **{f"{letter}iB": 1 << 10 * power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGT", 1)},
}
SECONDS: Final[Mapping[str, float]] = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "m": 60, "h": 3600}

_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+)\s*([^\d\s]*)\s*")


def split_quantity(text: str) -> tuple[float, str] | None:
    """Return the number and the unit of a text, None where it does not begin with a number."""
    match = _QUANTITY.fullmatch(text)
    return None if match is None or math.isinf(number := float(match[1])) else (number, match[2])


def read_bytes(text: str) -> int:
    """Read 1MiB, 1.5 GB, or a number of bytes.

    Raises:
        InputError: It is none of that.
    """
    return int(_read(text, BYTES, "B", "a size: 64KiB, 1MiB, 1GB"))


def read_seconds(text: str) -> float:
    """Read 50ms, 1.5s, 5min, or a number of seconds.

    Raises:
        InputError: It is none of that.
    """
    return _read(text, SECONDS, "s", "a duration: 50ms, 30s, 5min")


def _read(text: str, units: Mapping[str, float], unit: str, words: str) -> float:
    found = split_quantity(text)
    if found is None:
        raise InputError(f"{text[:40]!r} is not {words}")
    factor = units.get(found[1] or unit)
    if factor is None:
        raise InputError(f"{text[:40]!r} has no known unit; there are {', '.join(units)}")
    return found[0] * factor


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Return which of the known names somebody may have meant, and else all of them, as the end of a line."""
    similar = get_close_matches(name[:100], list(known), n=1)
    return f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"
