from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import pytest
from chaos.figures import milliseconds, percentile, slope, table


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value


def test_nothing_has_no_percentile() -> None:
    assert isnan(percentile([], 50))
    assert milliseconds([], 50) == "p50 nan ms"


def test_milliseconds() -> None:
    assert milliseconds([0.0012, 0.03], 0, 99) == "p0 1.2 ms, p99 30 ms"


def test_a_slope_is_deaf_to_spikes() -> None:
    points = [(float(x), 2.0 * x + 1) for x in range(20)]
    points[7] = (7.0, 1e9)
    assert slope(points) == pytest.approx(2.0)
    assert slope(points[:1]) == slope([(1.0, 2.0), (1.0, 3.0)]) == 0.0


def test_a_table() -> None:
    rows: list[tuple[str, str, dict[str, str], Sequence[str]]] = [
        ("cuts", "50 jobs", {"faults": "60", "lost": "0"}, ()),
        ("kills", "steady", {}, ("no end: a", "late: b")),
    ]
    assert table(rows).splitlines() == [
        "| fault | load | figures | invariants |",
        "|---|---|---|---|",
        "| cuts | 50 jobs | faults: 60; lost: 0 | all hold |",
        "| kills | steady |  | no end: a; late: b |",
    ]
