"""What the benchmark of the metrics' cost says: only what its own spread allows."""

from __future__ import annotations

import pytest
from metrics import judged


@pytest.mark.parametrize(
    ("between", "told"),
    [
        ((0.985, 1.001), "sums: 0.985 to 1.001 of the throughput with metrics; they cost no more than 2%"),
        ((0.95, 0.975), "sums: 0.950 to 0.975 of the throughput with metrics; they cost more than 2%"),
        ((0.95, 1.01), "sums: 0.950 to 1.010 of the throughput with metrics; too noisy to tell whether they cost 2%"),
    ],
)
def test_a_cost_is_told_as_far_as_it_is_known(between: tuple[float, float], told: str) -> None:
    assert judged([{"load": "sums", "between": between}]) == told
