"""Conditions: what they compare, in which units, and that nothing measured is no success."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reports import step

from arraymill._text.errors import InputError
from arraymill.load._conditions import judge, read_condition
from arraymill.load._histogram import Histogram
from arraymill.load._report import Step


def measured(seconds: float = 0.020, **changes: object) -> Step:
    """Return a step in which jobs took from 0 to some seconds, evenly."""
    histogram = Histogram()
    histogram.add([seconds * number / 1000 for number in range(1, 1001)])
    return replace(step(), latency=histogram.distribution(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("p99>19ms", True),
        ("p99>20ms", False),
        ("p99 >= 0.0198 s", True),
        ("p99.9>19900us", True),
        ("p50<9ms", False),
        ("p50<11ms", True),
        ("max>19.9ms", True),
        ("mean>11ms", False),
        ("errors>0", True),
        ("errors>=3", True),
        ("errors>3", False),
        ("error-rate>0.2%", True),
        ("error-rate>0.003", False),
        ("throughput<101/s", True),
        ("throughput<100", False),
        ("bandwidth<129MiB/s", True),
        ("bandwidth<128MiB/s", False),
    ],
)
def test_a_condition_is_judged(text: str, is_met: bool) -> None:
    (verdict,) = judge([read_condition(text)], [measured()], None)
    assert (verdict.condition, verdict.is_met) == (text, is_met)


def test_the_worst_step_counts() -> None:
    steps = [measured(0.01), measured(0.03, jobs_per_second=50.0), measured(0.02)]
    (slow, few) = judge(map(read_condition, ["max>25ms", "throughput<60"]), steps, None)
    assert slow.value == pytest.approx(0.03, rel=1e-3)
    assert (slow.is_met, few.is_met, few.value) == (True, True, 50.0)


def test_the_knee_is_one_number() -> None:
    (verdict,) = judge([read_condition("knee<500")], [measured()], 400.0)
    assert (verdict.is_met, verdict.value) == (True, 400.0)
    assert not judge([read_condition("knee<500")], [measured()], 500.0)[0].is_met


@pytest.mark.parametrize("text", ["p99>1h", "max>1h", "knee<1", "error-rate>100%"])
def test_what_was_not_measured_fails(text: str) -> None:
    nothing = replace(step(), jobs=0, errors={}, latency=None)
    (verdict,) = judge([read_condition(text)], [nothing], None)
    assert (verdict.is_met, verdict.value) == (True, None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("p99", "'p99' is no condition"),
        ("p99=3ms", "is no condition"),
        ("p101>3ms", "names 'p101'"),
        ("troughput<3", "did you mean throughput?"),
        ("p99>50", "needs a number and its unit (us, µs, ms, s, min, m, h)"),
        ("p99>50MiB", "needs a number and its unit"),
        ("errors>1%", "needs a number and its unit (none)"),
        ("max>fast", "needs a number"),
        ("", "is no condition"),
    ],
)
def test_what_has_no_meaning_is_told(text: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_condition(text)
    assert line in str(caught.value)
