"""Percentiles, ratios and fits, against NumPy's."""

from __future__ import annotations

from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.statistics import exponent, median_interval, percentile, ratio_in_turn

times = st.floats(1e-6, 1e6)


@given(st.lists(times, min_size=1, max_size=30), st.sampled_from([0, 1, 50, 99, 100]))
def test_a_percentile_is_numpys(samples: list[float], percent: float) -> None:
    assert isclose(percentile(samples, percent), np.percentile(samples, percent), rel_tol=1e-9)


@given(st.lists(st.tuples(times, times), min_size=1, max_size=30))
def test_the_ratio_is_the_median_of_those_of_each_round(rounds: list[tuple[float, float]]) -> None:
    above, below = zip(*rounds, strict=True)
    assert isclose(ratio_in_turn(above, below), np.median(np.divide(above, below)))


def test_a_round_in_which_the_machine_was_busy_with_others_does_not_move_the_ratio() -> None:
    assert ratio_in_turn([1.0, 10.0, 1.0, 10.0], [2.0, 20.0, 2.0, 20.0]) == 0.5


def test_ratios_need_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio_in_turn([1.0, 2.0], [1.0])


@given(st.floats(0.2, 3.0), st.floats(1e-3, 1e3))
def test_the_exponent_of_a_power_is_that_power(power: float, factor: float) -> None:
    sizes = [16.0, 64.0, 256.0, 4096.0]
    assert isclose(exponent(sizes, [factor * size**power for size in sizes]), power)


@pytest.mark.parametrize(("count", "outside"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (15, 3), (30, 9), (100, 39)])
def test_a_median_lies_between_samples_as_in_the_tables_of_the_sign_test(count: int, outside: int) -> None:
    samples = [float(number) for number in reversed(range(count))]
    assert median_interval(samples) == (outside, count - 1 - outside)
