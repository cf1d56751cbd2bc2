"""Histograms: what is told is what was counted, to three figures, whoever has counted it."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from arraymill.load._histogram import LARGEST_SECONDS, Histogram
from arraymill.load._report import QUANTILES

COUNTS = (1, 2, 7, 100, 1000)


def histogram(seconds: list[float]) -> Histogram:
    made = Histogram()
    made.add(seconds)
    return made


def durations(count: int, seed: int = 0) -> list[float]:
    """Return durations over five orders of magnitude."""
    return cast("list[float]", (10.0 ** np.random.default_rng(seed).uniform(-3, 2, count)).tolist())


@pytest.mark.parametrize("count", COUNTS)
def test_quantiles_are_those_of_the_values_to_three_figures(count: int) -> None:
    seconds = durations(count)
    told = histogram(seconds).distribution()
    assert told is not None
    values = sorted(seconds)
    for quantile in QUANTILES:
        place = max(int(quantile * len(values) + 0.5), 1) - 1
        assert told.quantiles[f"{quantile:g}"] == pytest.approx(values[place], rel=2e-3)
    assert told.maximum == pytest.approx(values[-1], rel=2e-3)
    assert told.minimum == pytest.approx(values[0], rel=2e-3)
    assert told.mean == pytest.approx(np.mean(values), rel=2e-3)
    assert told.deviation == pytest.approx(np.std(values), rel=2e-3, abs=1e-3)
    assert told.count == len(values)


def test_parts_of_two_processes_are_those_of_one() -> None:
    one, other = durations(300, 1), durations(200, 2)
    merged = Histogram.decoded(histogram(one).encoded())
    merged.merge(histogram(other).encoded())
    assert merged.distribution() == histogram(one + other).distribution()


def test_a_curve_ascends_and_ends_at_the_maximum() -> None:
    told = histogram([0.001 * number for number in range(1, 2000)]).distribution()
    assert told is not None
    assert told.curve == sorted(told.curve)
    assert told.curve[-1] == (1.0, told.maximum)
    assert len(told.curve) > 40
    again = Histogram.decoded(told.histogram)
    assert again.quantiles([0.999])[0] == told.quantiles["0.999"]


def test_values_that_are_one_to_a_histogram_are_recorded_once_and_counted_each() -> None:
    made = histogram([0.0, 1e-9, 0.010_001, 0.010_002, 0.010_003, 10 * LARGEST_SECONDS])
    assert made.count == 6
    assert made.maximum == pytest.approx(LARGEST_SECONDS, rel=1e-3)


def test_nothing_has_no_distribution() -> None:
    assert Histogram().distribution() is None
