"""Bytes and seconds as people write them, and as they like to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

_SIZES: Final[Mapping[str, float]] = {"": 1, "B": 1} | {
    unit: size
    for letter, binary, decimal in (("K", KIB, 10**3), ("M", MIB, 10**6), ("G", GIB, 10**9), ("T", TIB, 10**12))
    for unit, size in ((letter, binary), (f"{letter}IB", binary), (f"{letter}B", decimal))
}
_SECONDS: Final[Mapping[str, float]] = {"": 1, "MS": 0.001, "S": 1, "M": 60, "MIN": 60, "H": 3600, "D": 86400}


def parse_bytes(text: str | int) -> int:
    """Return a number of bytes: 1048576, "1048576", "1MiB", "1M" (the same), "1.5 GiB", "1MB" (10⁶).

    Raises:
        ValueError: It is not a number of bytes.
    """
    value = _quantity(text, _SIZES)
    if value is None:
        raise ValueError(f"{text!r} is not a number of bytes; write for example 256MiB or 1.5GiB")
    return math.floor(value)


def parse_seconds(text: str | float) -> float:
    """Return a number of seconds: 90, "90", "90s", "1.5min", "12h", "7d", "250ms".

    Raises:
        ValueError: It is not a duration.
    """
    value = _quantity(text, _SECONDS)
    if value is None:
        raise ValueError(f"{text!r} is not a duration; write seconds, or for example 30s, 5min, 12h")
    return float(value)


def format_bytes(count: int) -> str:
    """Return bytes for people, to three digits: 1000 B, 64 KiB, 1.5 GiB."""
    for unit, size in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(count) >= size:
            value = count / size
            return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
    return f"{count} B"


def _quantity(text: object, units: Mapping[str, float]) -> float | None:
    if isinstance(text, bool):
        return None
    if isinstance(text, int | float):
        return text if math.isfinite(text) else None
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    factor = units.get(found[2].upper()) if found else None
    if found is None or factor is None:
        return None
    number = int(found[1]) if found[1].lstrip("-").isdecimal() else float(found[1])
    return number * factor
