"""What grows for as long as a server runs is found, and the noise of a server that does not grow is none."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from chaos.rows.soak import SAMPLES, Sample, judge_growth
from chaos.trial import Trial

MINUTES = 30
SEGMENT = 4 << 20
PRIVATE, SHARED = 130 << 20, 256 << 20


def complaints(seconds: float = 60.0 * MINUTES, **growth: float) -> list[str]:
    """Judge samples in which something grows by so much in all, beside noise and what settles at first."""
    told: list[str] = []
    random, run = Random(1), SimpleNamespace(figures={}, complaints=told)
    samples: list[Sample] = []
    for number in range(SAMPLES):
        part = number / SAMPLES
        private = PRIVATE + random.uniform(0, 40e6) + 50e6 * min(part, 0.2) + part * growth.get("private", 0)
        shared = SHARED + int(part * growth.get("shared", 0) / SEGMENT) * SEGMENT
        numbers: dict[str, Any] = {
            name: int(30 + (number % 10 == 0) + part * growth.get(name, 0)) for name in ("descriptors", "threads")
        }
        samples.append(Sample(part * seconds, int(private), shared, **numbers))
    judge_growth(cast("Trial", run), samples)
    assert set(run.figures) == {"private memory", "shared memory", "descriptors", "threads"}
    return told


def test_noise() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    ("growth", "told"),
    [
        ({"private": 12e6}, "private memory grew by "),
        ({"shared": 32e6}, "shared memory grew by "),
        ({"descriptors": 8}, "descriptors grew by "),
        ({"threads": 8}, "threads"),
    ],
)
def test_what_grows(growth: dict[str, float], told: str) -> None:
    (complaint,) = complaints(**growth)
    assert complaint.startswith(told)


def test_a_short_time_tells_nothing() -> None:
    assert complaints(seconds=100.0, private=40e6) == []
