"""Durations of many jobs: an HdrHistogram of microseconds, filled many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Self, cast

import numpy as np
from hdrh.histogram import HdrHistogram

from arraymill.load._report import QUANTILES, Distribution

LARGEST_SECONDS: Final = 86_400
"""Longer durations count as a day."""

FIGURES: Final = 3
"""Significant figures that every value keeps."""

_FULL_BITS: Final = 11
"""Values of so many bits are kept to the microsecond: 2 * 10**FIGURES needs them."""

_HALF_BITS: Final = _FULL_BITS - 1
"""The counts lie in runs of 2**_HALF_BITS; those of one run are for values of equal width, from the third on twice as
wide as those of the run before."""

_CURVE: Final = (
    *(place / 50 for place in range(48)),
    *(1 - 0.05 / 2 ** (place / 4) for place in range(4, 45)),
)
"""Where a curve is told: evenly at first, then closer and closer to 1, the last one beyond 0.9999."""


class Histogram:
    """Counts of durations."""

    def __init__(self) -> None:
        self._counts: Any = HdrHistogram(1, LARGEST_SECONDS * 1_000_000, FIGURES)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return cast("int", self._counts.get_total_count())

    def add(self, seconds: Iterable[float]) -> None:
        """Count durations.

        Recording costs a few microseconds for each value, which is as much as all else that a generator does for a
        small job. So equal values are recorded once with their number, and what the histogram does not tell apart is
        made equal before.
        """
        micros = np.rint(np.fromiter(seconds, np.float64) * 1e6).clip(0, LARGEST_SECONDS * 1e6).astype(np.int64)
        shifts = np.maximum(np.frexp(micros)[1] - _FULL_BITS, 0)
        values, counts = np.unique((micros >> shifts) << shifts, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._counts.record_value(value, count)

    def merge(self, encoded: str) -> None:
        """Add what another process has counted."""
        self._counts.decode_and_add(encoded)

    def encoded(self) -> str:
        """Return all counts as text: HdrHistogram's compressed encoding."""
        return cast("bytes", self._counts.encode()).decode()

    @classmethod
    def decoded(cls, encoded: str) -> Self:
        """Return what `encoded` has told."""
        histogram = cls()
        histogram.merge(encoded)
        return histogram

    def quantiles(self, wanted: Sequence[float]) -> list[float]:
        """Return the durations, in seconds, that the given parts of all do not exceed; there must be some."""
        found = self._counts.get_percentile_to_value_dict([100 * quantile for quantile in wanted])
        return [found[100 * quantile] / 1e6 for quantile in wanted]

    @property
    def maximum(self) -> float:
        """The longest duration, in seconds."""
        return cast("int", self._counts.get_max_value()) / 1e6

    def _moments(self) -> tuple[float, float]:
        """Return mean and standard deviation, in seconds: HdrHistogram's own take a tenth of a second for both."""
        counts = np.frombuffer(self._counts.counts, np.uint64)
        places = np.flatnonzero(counts)
        values = np.array([self._counts.get_value_from_index(place) for place in places.tolist()], np.float64)
        widths = np.exp2(np.maximum((places >> _HALF_BITS) - 1, 0))
        middles, weights = values + widths // 2, counts[places].astype(np.float64)
        mean = float(np.average(middles, weights=weights))
        return mean / 1e6, float(np.sqrt(np.average((middles - mean) ** 2, weights=weights))) / 1e6

    def distribution(self, *, is_whole: bool = True) -> Distribution | None:
        """Return what a report tells, None where nothing was counted.

        Args:
            is_whole: With the curve, and the histogram itself.
        """
        if not self.count:
            return None
        mean, deviation = self._moments()
        texts = [f"{quantile:g}" for quantile in QUANTILES]
        curve = [place for place in _CURVE if place <= 1 - 0.5 / self.count] if is_whole else []
        return Distribution(
            count=self.count,
            mean=mean,
            deviation=deviation,
            minimum=cast("int", self._counts.get_min_value()) / 1e6,
            maximum=self.maximum,
            quantiles=dict(zip(texts, self.quantiles(QUANTILES), strict=True)),
            curve=[*zip(curve, self.quantiles(curve), strict=True), (1.0, self.maximum)] if is_whole else [],
            histogram=self.encoded() if is_whole else "",
        )
