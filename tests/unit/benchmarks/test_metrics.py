"""What the benchmark of the metrics' cost says: only what its own spread allows."""

from __future__ import annotations

import pytest
from metrics import judged


@pytest.mark.parametrize(
    ("between", "told"),
    [
        ((0.985, 1.001), "sums: metrics cost -0.1% to 1.5% of the throughput; no more than 2%"),
        ((0.95, 0.975), "sums: metrics cost 2.5% to 5.0% of the throughput; more than 2%"),
        (
            (0.95, 1.01),
            "sums: metrics cost -1.0% to 5.0% of the throughput; too noisy to tell whether that is more than 2%",
        ),
    ],
)
def test_a_cost_is_told_as_far_as_it_is_known(between: tuple[float, float], told: str) -> None:
    assert judged([{"load": "sums", "between": between}]) == told
