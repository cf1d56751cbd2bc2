"""Bars that need no script."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_pages as pages

from arraymill.load._parts import parts_section, phases_section


def widths(page: str) -> list[float]:
    return [float(width) for width in re.findall(r'width="([\d.]+)%"', page)]


def test_a_bar_is_made_of_its_phases() -> None:
    page = phases_section([("", pages.step())])
    assert sum(widths(page)) == pytest.approx(100, abs=0.01)
    assert "<title>computed: 756 µs</title>" in page


def test_bars_of_like_steps_can_be_compared_by_length() -> None:
    page = phases_section([("a", pages.step()), ("b", pages.step(middle=0.0042))])
    assert sum(widths(page)) == pytest.approx(150, abs=0.02)
    assert "whole of its time" not in page


def test_bars_of_unlike_steps_are_shares() -> None:
    page = phases_section([("a", pages.step()), ("b", pages.step(middle=1.0))])
    assert sum(widths(page)) == pytest.approx(200, abs=0.02)
    assert "whole of its time" in page


def test_phases_that_were_not_told() -> None:
    some = replace(pages.step(), phases={"computed": pages.distribution(0.0)})
    assert "did not tell" in phases_section([("", replace(some, phases={}))])
    page = phases_section([("", some), ("none", replace(some, phases={}))])
    assert "queued" not in page
    assert "0 s" in page


def test_entries_of_the_mix() -> None:
    page = parts_section(pages.step(errors=40), "2,000 jobs/s")
    assert page.count("<svg") == 3
    assert "40 BusyError, 10 DeadlineError" in page
    assert "at 2,000 jobs/s" in page


def test_entries_without_an_answer() -> None:
    page = parts_section(pages.all_errors().steps[0], "")
    assert "40,000 BusyError" in page
    assert "<svg" not in page
    assert "No job was sent" in parts_section(pages.nothing().steps[0], "")
