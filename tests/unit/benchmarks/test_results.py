"""Samples, what is made of them, and how they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.quantities import Quantity, gigabytes_per_second, milliseconds
from suite.results import Results, Round

SPEED = gigabytes_per_second()
TIME = milliseconds()


def results(*sizes: Round) -> Results:
    return Results("sum", {"cores": 2}, {"A": {"numpy": "2"}}, 2, list(sizes))


SMALL = Round(10**9, {"A": [{"seconds": 1.0}, {"seconds": 4.0}, {"seconds": 2.0}], "B": [{"seconds": 2.0}] * 3})
LARGE = Round(4 * 10**9, {"A": [{"seconds": 8.0}]}, {"B": "it died"}, ["A"])
BOTH = results(SMALL, LARGE)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    BOTH.save(tmp_path / "sum.json")
    assert Results.load(tmp_path / "sum.json") == BOTH


@pytest.mark.parametrize(
    ("label", "quantity", "nbytes", "median"),
    [
        ("A", SPEED, None, 0.5),
        ("A", TIME, None, 2000.0),
        ("A", SPEED, 4 * 10**9, 0.5),
        ("B", SPEED, 4 * 10**9, None),
        ("C", SPEED, None, None),
        ("A", SPEED, 7, None),
    ],
)
def test_the_median_is_that_of_a_size(label: str, quantity: Quantity, nbytes: int | None, median: float | None) -> None:
    assert BOTH.median(label, quantity, nbytes) == median


def test_a_ratio_needs_both() -> None:
    assert BOTH.ratio("A", "B", TIME) == 1.0
    assert BOTH.ratio("A", "B", SPEED) == 1.0
    assert BOTH.ratio("B", "A", TIME) == 1.0
    assert BOTH.ratio("A", "B", TIME, 4 * 10**9) is None
    assert results().ratio("A", "B", TIME) is None


def test_there_is_no_ratio_to_nothing() -> None:
    nothing = Quantity("memory", "MiB", lambda figures, _: figures["mib"])
    seen = results(Round(8, {"A": [{"mib": 2.0}] * 2, "B": [{"mib": 1.0}, {"mib": 0.0}]}))
    assert seen.ratio("A", "B", nothing) is None
    assert seen.ratio("B", "A", nothing) == 0.25
