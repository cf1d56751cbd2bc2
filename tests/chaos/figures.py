"""Figures for people: percentiles, slopes, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import TypeAlias

Figures: TypeAlias = dict[str, str]
"""What was measured, by name, as text with its unit."""


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the least value that so many percent of the values do not exceed; nan of none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def milliseconds(values: Iterable[float], *percents: float) -> str:
    """Write percentiles of seconds: ``p50 1.2 ms, p99 30 ms``."""
    kept = list(values)
    return ", ".join(f"p{percent:g} {1000 * percentile(kept, percent):.3g} ms" for percent in percents)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of points (time, value) by Theil and Sen: the median of all slopes, deaf to single spikes."""
    slopes = [(b - y) / (a - x) for (x, y), (a, b) in combinations(points, 2) if a != x]
    return median(slopes) if slopes else 0.0


def table(rows: Iterable[tuple[str, str, Mapping[str, str], Sequence[str]]]) -> str:
    """Return a Markdown table of faults, loads, figures and broken invariants."""
    lines = ["| fault | load | figures | invariants |", "|---|---|---|---|"]
    for fault, load, figures, broken in rows:
        told = "; ".join(f"{name}: {value}" for name, value in figures.items())
        lines.append(f"| {fault} | {load} | {told} | {'; '.join(broken) if broken else 'all hold'} |")
    return "\n".join(lines)
