"""Figures as people read them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import report_pages as pages

from arraymill.load._figures import (
    MOST_DRAWN,
    Unit,
    clock_text,
    figures,
    number_text,
    some_steps,
    step_name,
    telling_step,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "seconds", "0 s"),
        (8.5e-7, "seconds", "0.85 µs"),
        (0.00123456, "seconds", "1.23 ms"),
        (0.9996, "seconds", "1 s"),
        (95.0, "seconds", "95 s"),
        (12_345.6, "count", "12,346"),
        (99.96, "count", "100"),
        (0.5, "share", "50 %"),
        (1234.0, "per second", "1,234/s"),
        (999.0, "bytes per second", "999 B/s"),
        (1.5 * (1 << 30), "bytes per second", "1.5 GiB/s"),
        (1 << 30, "bytes", "1 GiB"),
        (None, "bytes", "–"),
        (math.nan, "seconds", "–"),
        (math.inf, "count", "–"),
    ],
)
def test_values(value: float | None, unit: Unit, text: str) -> None:
    assert value_text(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (5.5, "0:05.5"), (59.96, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_times_within_a_run(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_numbers_have_three_digits() -> None:
    assert [number_text(number) for number in (0.001234, 1.0, 2.345, -12.34)] == ["0.00123", "1", "2.35", "-12.3"]


def test_every_step_has_the_same_figures() -> None:
    full, empty = figures(pages.step()), figures(pages.nothing().steps[0])
    assert [figure.name for figure in full] == [figure.name for figure in empty]
    assert {figure.name: str(figure) for figure in empty}["error share"] == "–"


def test_few_jobs_behind_a_quantile_are_told() -> None:
    step = replace(pages.step(), latency=pages.distribution(0.002, count=900))
    told = {figure.name: figure for figure in figures(step)}
    assert told["p99.9"].starred().endswith(" ms*")
    assert told["p99"].is_starred, "900 jobs have 9 above p99"
    assert not told["p95"].is_shaky
    assert not told["max"].is_starred, "everybody knows"


def test_steps_are_named_by_what_was_asked() -> None:
    names = [
        step_name(pages.step(2000.0)),
        step_name(pages.step(None)),
        step_name(replace(pages.step(None), clients=1)),
    ]
    assert names == ["2,000 jobs/s", "64 clients", "1 client"]


def test_the_step_that_speaks_for_a_run() -> None:
    stepped = pages.stepped()
    assert telling_step(stepped) is stepped.steps[3]
    assert telling_step(replace(stepped, knee=None)) is stepped.steps[4]
    assert telling_step(replace(stepped, steps=[])) is None


def test_many_steps_are_drawn_as_some_of_them() -> None:
    steps = [pages.step(float(rate), number=1) for rate in range(100, 3100, 100)]
    drawn = some_steps(replace(pages.report(*steps), knee=700.0))
    assert len(drawn) <= MOST_DRAWN + 1
    assert [drawn[0].rate, drawn[-1].rate] == [100, 3000]
    assert 700.0 in [step.rate for step in drawn]
