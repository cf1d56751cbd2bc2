"""What is computed from samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between neighbours as `np.percentile` has it."""
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def ratio_in_turn(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of each round.

    Both samples of a round met the same moment of the machine, so this is steadier than the ratio of the two medians
    where the machine has other work to do.
    """
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return between which two samples the median of what they come from lies, with at least a confidence.

    Nothing is assumed of how they are spread: each lies below that median as often as above. Of too few samples, it is
    the smallest and the largest.
    """
    ordered, n = sorted(samples), len(samples)
    outside = 0
    while 2 * sum(math.comb(n, beyond) for beyond in range(outside + 2)) <= (1 - confidence) * 2**n:
        outside += 1
    return ordered[outside], ordered[-1 - outside]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return p of the fit seconds = c · size**p, by least squares of the logarithms: 1 is growth in proportion."""
    slope, _ = statistics.linear_regression([math.log(s) for s in sizes], [math.log(s) for s in seconds])
    return slope
