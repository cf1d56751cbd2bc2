"""What grows for as long as a server runs is found, and the noise of a server that does not grow is none."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chaos.rows.soak import Sample, judge_growth
from chaos.trial import Trial

MINUTES = 30
SIZE = 300 << 20


def complaints(seconds: float = 60.0 * MINUTES, **growth: float) -> list[str]:
    """Judge samples in which something grows by so much in all, beside noise and what settles at first."""
    told: list[str] = []
    random, run = Random(1), SimpleNamespace(figures={}, complaints=told)
    samples: list[Sample] = []
    for number in range(120):
        part = number / 120
        memory = SIZE + random.uniform(-1, 1) * 2e6 + 50e6 * min(part, 0.1) + part * growth.get("memory", 0)
        numbers: dict[str, Any] = {
            name: int(30 + (number % 10 == 0) + part * growth.get(name, 0)) for name in ("descriptors", "threads")
        }
        samples.append(Sample(part * seconds, int(memory), **numbers))
    judge_growth(cast("Trial", run), samples)
    assert set(run.figures) == {"memory", "descriptors", "threads"}
    return told


def test_noise() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("growth", "told"),
    [({"memory": 40e6}, "memory grew by "), ({"descriptors": 8}, "descriptors grew by "), ({"threads": 8}, "threads")],
)
def test_what_grows(growth: dict[str, float], told: str) -> None:
    (complaint,) = complaints(**growth)
    assert complaint.startswith(told)


def test_a_short_time_tells_nothing() -> None:
    assert complaints(seconds=100.0, memory=40e6) == []
