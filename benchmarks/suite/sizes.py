"""Sizes of arrays as people write them."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


def parse_size(text: str) -> int:
    """Return the bytes of "256MiB".

    Raises:
        ValueError: it is no size, or none of whole float64.
    """
    found = re.fullmatch(r"(\d+) ?([GMK]iB)", text)
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no size: write 256MiB or 1GiB")
    return int(found[1]) * UNITS[found[2]]


def size_text(nbytes: int) -> str:
    """Return a size as people write it."""
    unit = next((unit for unit, factor in UNITS.items() if nbytes % factor == 0), None)
    return f"{nbytes // UNITS[unit]} {unit}" if unit else f"{nbytes:,} bytes"
