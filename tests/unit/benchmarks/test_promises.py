"""Promises that are kept, broken, and not measured."""

from __future__ import annotations

from math import isclose

import pytest

from suite.promises import Promise, beside, growth, spread, within
from suite.quantities import digits, gigabytes_per_second, milliseconds
from suite.results import Results, Round
from suite.task import Figures

TIME = milliseconds()
P50, P99 = milliseconds("p50_seconds", "p50"), milliseconds("p99_seconds", "p99")


def rounds(*seconds: float) -> list[Figures]:
    return [{"seconds": each, "p50_seconds": each, "p99_seconds": 3 * each} for each in seconds]


def results(nbytes: int = 1000, **samples: list[Figures]) -> Results:
    return Results("sum", {}, {}, 2, [Round(nbytes, samples)])


@pytest.mark.parametrize(
    ("promise", "is_kept"),
    [
        (beside("A", "B", gigabytes_per_second(), least=2.0), True),
        (beside("A", "B", gigabytes_per_second(), least=2.1), False),
        (beside("A", "B", TIME, most=0.5), True),
        (beside("A", "B", TIME, most=0.4), False),
        (beside("A", "B", TIME, nbytes=7, most=0.5), None),
        (beside("A", "C", TIME, most=0.5), None),
        (within("A", TIME, most=1000.0), True),
        (within("A", TIME, most=999.0), False),
        (within("C", TIME, most=999.0), None),
        (spread("A", P99, P50, most=3.0), True),
        (spread("A", P99, P50, most=2.9), False),
    ],
)
def test_a_promise_is_kept_broken_or_not_measured(promise: Promise, is_kept: bool | None) -> None:
    seen = results(A=rounds(1.0, 1.0, 9.0), B=rounds(2.0, 2.0, 2.0))
    assert promise.is_kept(seen) is is_kept
    word = {True: "kept: ", False: "BROKEN: ", None: "not measured: "}[is_kept]
    assert promise.verdict(seen).startswith(word)


def test_a_verdict_tells_the_number_and_the_bound() -> None:
    promise = beside("A", "B", gigabytes_per_second(), least=1.35)
    assert promise.verdict(results(A=rounds(1.0), B=rounds(2.0))) == (
        "kept: throughput of A beside B: 2; promised is at least 1.35"
    )
    assert promise.verdict(results()) == "not measured: throughput of A beside B: promised is at least 1.35"


@pytest.mark.parametrize(("power", "is_kept"), [(1.0, True), (1.04, True), (1.2, False), (0.9, False)])
def test_growth_is_an_exponent(power: float, is_kept: bool) -> None:
    sizes = [Round(nbytes, {"A": rounds(nbytes**power)}) for nbytes in (1 << 24, 1 << 28, 1 << 32)]
    promise = growth("A", TIME, least=0.95, most=1.05)
    assert isclose(promise.measure(Results("growth", {}, {}, 2, sizes)) or 0, power)
    assert promise.is_kept(Results("growth", {}, {}, 2, sizes)) is is_kept
    assert promise.is_kept(Results("growth", {}, {}, 2, sizes[:1])) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (100.4, "100"), (99.96, "100"), (1.849, "1.85"), (0.0, "0"), (0.0012, "0.001")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert digits(value) == text
