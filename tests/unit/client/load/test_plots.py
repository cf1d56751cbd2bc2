"""Plots as data."""

from __future__ import annotations

import math

import pytest

from arraymill.load._plots import Line, Plot, plots_section, quantile_place


def plot(*values: float | None, unit: str = "seconds") -> Plot:
    lines = [Line("p50", "blue", values)]
    return Plot("one", "One", "time", unit, [([float(place) for place in range(len(values))], lines)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "is_log"), [((1.0, 2.0), False), ((0.001, 2.0), True), ((0.0, 2.0), False), ((None,), False)]
)
def test_times_far_apart_have_a_logarithmic_axis(values: tuple[float | None, ...], is_log: bool) -> None:
    assert plot(*values).is_log is is_log
    assert not plot(*values, unit="bytes").is_log


def test_numbers_are_short_and_finite() -> None:
    told = plot(0.123456789, math.nan, math.inf, None, 3.0).document()
    assert told["tables"] == [[[0, 1, 2, 3, 4], [0.12346, None, None, None, 3]]]


def test_places_of_long_runs_stay_apart() -> None:
    lines = [Line("p50", "blue", [1.0, 2.0])]
    told = Plot("one", "One", "time", "seconds", [([100_000.0, 100_000.001], lines)]).document()
    assert told["tables"][0][0] == [100_000.0, 100_000.001]


def test_nothing_to_draw_is_told() -> None:
    assert "Nothing was measured" in plot(None, None).figure()
    assert 'id="plot-one"' not in plots_section("Some", [plot(math.nan)])


def test_each_nine_has_as_much_room() -> None:
    places = [quantile_place(quantile, 10**9) for quantile in (0.0, 0.9, 0.99, 0.999)]
    assert places == pytest.approx([0, 1, 2, 3])
    assert quantile_place(1.0, 50) == pytest.approx(2)
    assert quantile_place(1.0, 0) == pytest.approx(math.log10(2))
