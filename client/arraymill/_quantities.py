"""Quantities for people."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_text(count: float) -> str:
    """Return bytes for people, to three digits: 96 B, 1.5 GiB."""
    power = 0
    while count >= 999.5 and power < len(_UNITS) - 1:
        count /= 1024
        power += 1
    return f"{count:.0f} {_UNITS[power]}" if count >= 99.5 or not power else f"{count:.3g} {_UNITS[power]}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: 1 worker, 2,048 workers."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
