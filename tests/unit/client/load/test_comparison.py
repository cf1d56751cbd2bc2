"""Two reports beside each other, in honest words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import report_pages as pages

from arraymill.load._comparison import Change, Difference, compare, flat
from arraymill.load._figures import Figure
from arraymill.load._report import Report

BEFORE = pages.report(pages.step(errors=0))


def change(before: float | None, after: float | None, *, is_shaky: bool = False, wanted: str = "low") -> Change:
    first, second = (
        Figure("p99", "seconds", value, wanted, is_shaky)  # type: ignore[arg-type]
        for value in (before, after)
    )
    return Change(first, second)


@pytest.mark.parametrize(
    ("told", "words", "effect"),
    [
        (change(1.0, 1.0), "the same", ""),
        (change(1.0, 1.01), "about the same", ""),
        (change(1.0, 1.04), "4 % higher", ""),
        (change(1.0, 1.3), "30 % higher", "worse"),
        (change(1.0, 0.7), "30 % lower", "better"),
        (change(1.0, 0.7, wanted="high"), "30 % lower", "worse"),
        (change(1.0, 0.7, wanted=""), "30 % lower", ""),
        (change(1.0, 0.7, is_shaky=True), "30 % lower", ""),
        (change(1.0, 3.456), "3.46 times as high", "worse"),
        (change(0.0, 3.0), "none before", "worse"),
        (change(3.0, 0.0), "none after", "better"),
        (change(0.0, 0.0), "the same", ""),
        (change(None, 1.0), "not measured before", ""),
        (change(1.0, None), "not measured after", ""),
        (change(None, None), "", ""),
    ],
)
def test_a_change(told: Change, words: str, effect: str) -> None:
    assert (told.words(), told.effect) == (words, effect)


def test_what_was_different_is_told() -> None:
    other = replace(
        BEFORE, title="other", began="2027-01-01", arraymill="0.2.0", server={**BEFORE.server, "workers": 8}
    )
    other = replace(other, plan={**BEFORE.plan, "title": "other", "clients": 128})
    assert compare(BEFORE, other).differences == [
        Difference("load tester", "0.1.0", "0.2.0"),
        Difference("plan.clients", "64", "128"),
        Difference("server.workers", "4", "8"),
    ]
    assert not compare(BEFORE, replace(BEFORE, title="again")).differences


def test_trees_become_texts() -> None:
    mix = [{"work": "sum", "count": 3, "weight": 2.0, "dtype": ""}, {"work": "sqrt", "weight": 1}]
    tree: dict[str, Any] = {"a": {"b_bytes": 1 << 20, "c": {}}, "warm_up": 2.0, "on": True, "no": None, "mix": mix}
    assert flat(tree) == {
        "a.b_bytes": "1 MiB",
        "a.c": "",
        "warm_up": "2 s",
        "on": "yes",
        "no": "–",
        "mix": "sum 3*2, sqrt",
    }


def test_steps_of_the_same_load_are_compared() -> None:
    stepped = pages.stepped()
    told = compare(stepped, replace(stepped, steps=stepped.steps[1:3]))
    assert [pair.name for pair in told.pairs] == ["2,000 jobs/s", "4,000 jobs/s"]
    pair = told.telling_pair()
    assert pair is not None
    assert pair.name == "4,000 jobs/s"


def test_knees_are_compared() -> None:
    before = pages.stepped()
    told = compare(before, replace(before, knee=4000.0)).knee
    assert told is not None
    assert told.texts() == ("knee", "6,000/s", "4,000/s", "0.67", "33 % lower, worse")
    lost = compare(before, replace(before, knee=None)).knee
    assert lost is not None
    assert lost.words() == "not measured after"
    assert compare(BEFORE, BEFORE).knee is None


def test_the_pair_that_tells_most_is_one_that_both_held() -> None:
    before = pages.stepped()
    for knee, rate in ((4000.0, 4000), (None, 6000), (1.0, 8000)):
        pair = compare(before, replace(before, knee=knee, ended="x")).telling_pair()
        assert pair is not None
        assert pair.before.rate == rate
    assert compare(before, pages.nothing()).telling_pair() is not None
    assert compare(before, replace(before, steps=[])).telling_pair() is None


def test_single_steps_are_compared_whatever_they_are() -> None:
    told = compare(BEFORE, pages.report(pages.step(3000.0)))
    assert [pair.name for pair in told.pairs] == ["2,000 jobs/s and 3,000 jobs/s"]


@pytest.mark.parametrize(
    ("after", "warning"),
    [
        (replace(BEFORE, title="b"), "One run of each"),
        (pages.report(pages.step(None)), "latencies mean different things"),
        (pages.report(pages.step(3000.0)), "asked for different loads"),
        (replace(BEFORE, ended="the server was lost"), "The run after ended early: the server was lost"),
        (pages.report(pages.step(errors=9000)), "More than 1 % of jobs failed"),
        (pages.stepped(), "The load tester was the limit in the run after"),
        (pages.report(pages.step(1.0), pages.step(2.0)), "no step of the same load"),
    ],
)
def test_warnings(after: Report, warning: str) -> None:
    assert [line for line in compare(BEFORE, after).warnings if warning in line]
