"""Counts: what is added is there, copies stay as they are, labels come from fixed sets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from arraymill_proto.catalogue import OPERATIONS
from arraymill_server.metrics.counts import (
    CANCELLED,
    DURATION_BOUNDS,
    FAILED,
    NOTED,
    OUTCOMES,
    PHASES,
    RECENT_LAGS,
    REFUSED,
    SUCCEEDED,
    Counts,
    Histogram,
    operation_label,
)


@dataclass
class Times:
    queued: float = 0.0
    received: float = 0.0
    computed: float = 0.0
    merged: float = 0.0
    sent: float = 0.0
    total: float = 0.0


def test_a_value_belongs_to_the_first_bound_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 99.0):
        histogram.add(value)
    assert histogram.counts == (2, 2, 2)
    assert histogram.sum == 106.0
    assert repr(histogram) == "<Histogram of 6 values>"


def test_many_values_are_counted_whenever_somebody_looks() -> None:
    histogram = Histogram((1.0, 2.0))
    for number in range(1, 3 * NOTED):
        histogram.add(0.5 + number % 3)
        assert number % 7 or sum(histogram.counts) == number
    assert sum(histogram.counts) == 3 * NOTED - 1
    assert histogram.sum == sum(0.5 + number % 3 for number in range(1, 3 * NOTED))


def test_a_copy_stays_as_it_is() -> None:
    histogram = Histogram((1.0,))
    histogram.add(0.5)
    copy = histogram.copy(zeros=3)
    histogram.add(0.5)
    assert (copy.counts, copy.sum) == ((4, 0), 0.5)
    assert histogram.counts == (2, 0)


def test_bounds_ascend_and_reach_from_the_smallest_jobs_to_long_ones() -> None:
    assert list(DURATION_BOUNDS) == sorted(set(DURATION_BOUNDS))
    assert (DURATION_BOUNDS[0], DURATION_BOUNDS[-1]) == (25e-6, 100.0)


def test_jobs_are_counted_by_operation_and_outcome() -> None:
    counts = Counts()
    for outcome in (SUCCEEDED, SUCCEEDED, FAILED, CANCELLED):
        counts.ended("sum", outcome)
    counts.turned_away("mean", "BUSY")
    counts.refused("JOB_NOT_FOUND")
    ended = {key: count for key, count in counts.jobs.items() if count}
    assert ended == {("sum", SUCCEEDED): 2, ("sum", FAILED): 1, ("sum", CANCELLED): 1, ("mean", REFUSED): 1}
    assert counts.outcomes == {SUCCEEDED: 2, FAILED: 1, CANCELLED: 1, REFUSED: 1}
    assert counts.refusals == {"BUSY": 1, "JOB_NOT_FOUND": 1}
    assert Counts().outcomes == dict.fromkeys(OUTCOMES, 0)


def test_outcomes_are_told_before_the_first_job_ends_so() -> None:
    counts = Counts()
    assert counts.jobs == {("expression", outcome): 0 for outcome in OUTCOMES}
    counts.ended("sum", SUCCEEDED)
    known = [(operation, outcome) for operation in ("expression", "sum") for outcome in OUTCOMES]
    assert counts.jobs == {**dict.fromkeys(known, 0), ("sum", SUCCEEDED): 1}
    assert counts.outcomes == {**dict.fromkeys(OUTCOMES, 0), SUCCEEDED: 1}


def test_every_phase_has_a_time_of_every_job() -> None:
    counts = Counts()
    counts.took(Times(queued=1.0, received=2.0, computed=3.0, merged=4.0, sent=5.0, total=6.0))
    counts.played("sum", 0.5, 0.25, 800, 8)
    durations = counts.durations()
    assert {phase: histogram.sum for phase, histogram in durations.items()} == {
        "queued": 1.0,
        "received": 2.0,
        "computed": 3.25,
        "merged": 4.0,
        "sent": 5.0,
        "total": 6.5,
    }
    assert {phase: sum(histogram.counts) for phase, histogram in durations.items()} == dict.fromkeys(PHASES, 2)
    assert durations["sent"].counts[0] == 1
    assert (counts.traffic.received["inline"], counts.traffic.sent["inline"]) == (800, 8)
    assert repr(counts) == "<Counts of 1 jobs, <Traffic: 800 bytes in, 8 out>>"


def test_the_lag_of_late_is_the_largest_of_the_last_ones() -> None:
    counts = Counts()
    assert counts.recent_lag_seconds == 0.0
    for lag in (5.0, *[0.001] * (RECENT_LAGS - 1)):
        counts.late(lag)
    assert counts.recent_lag_seconds == 5.0
    counts.late(0.002)
    assert counts.recent_lag_seconds == 0.002
    assert sum(counts.lag.counts) == RECENT_LAGS + 1


@pytest.mark.parametrize(
    ("names", "is_kept", "label"),
    [
        (["sum"], False, "sum"),
        (["sum"], True, "sum"),
        (["sum", "add"], False, "expression"),
        (["nope", "nope"], False, "expression"),
        (
            [
                'x"} 1\n',
            ],
            False,
            "unknown",
        ),
        ([""], True, "unknown"),
        ([], True, "put"),
        ([], False, "get"),
    ],
)
def test_what_a_job_is_counted_as(names: list[str], is_kept: bool, label: str) -> None:
    assert operation_label(names, OPERATIONS, is_kept=is_kept) == label
