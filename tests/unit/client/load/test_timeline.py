"""The course of a run over time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import report_pages as pages

from arraymill.load._timeline import MOST_ROWS, courses_plot, latency_plot, server_plots, throughput_plots, timeline


def test_steps_follow_each_other_with_a_gap() -> None:
    steps = [pages.step(rate, number=3) for rate in (100.0, 200.0)]
    course = timeline(pages.report(*steps))
    assert course.places == [0, 1, 2, 2.999, 3, 4, 5, 6]
    assert [second is None for second in course.seconds] == [False] * 3 + [True] + [False] * 3 + [True]
    assert course.marks == [(0, "100 jobs/s"), (3, "200 jobs/s")]
    assert course.rates == [100.0, 100.0, 100.0, None, 200.0, 200.0, 200.0, None]


def test_steps_that_go_on_in_time_are_left_where_they_are() -> None:
    first, second = pages.step(100.0, number=2), pages.step(200.0, number=2)
    later = replace(second, series=[replace(each, at=each.at + 7) for each in second.series])
    assert timeline(pages.report(first, later)).places == [0, 1, 2, 7, 8, 9]


def test_times_grow_whatever_a_document_says() -> None:
    odd = replace(pages.step(number=4), series=[replace(each, at=1.0) for each in pages.step(number=4).series])
    places = timeline(pages.report(odd, odd)).places
    assert all(one < other for one, other in pairwise(places))


def test_errors_are_marked() -> None:
    plain, failed = (latency_plot(timeline(pages.report(pages.step(errors=errors)))) for errors in (0, 40))
    assert [line.label for line in plain.groups[0][1]] == ["max", "p99", "p50"]
    assert failed.groups[0][1][-1].style == "errors"
    assert "Red marks" in failed.note


def test_long_runs_have_short_tables() -> None:
    plot = latency_plot(timeline(pages.report(pages.step(number=1000))))
    assert len(plot.rows) <= MOST_ROWS
    assert plot.header[:3] == ("from", "p50, middle one", "p99, largest")
    assert plot.rows[1][0] == "0:17"


def test_rates_are_those_of_a_second() -> None:
    half = replace(pages.step(number=1).series[0], seconds=0.5, jobs=100, bytes=1000)
    course = timeline(pages.report(replace(pages.step(), series=[half])))
    jobs, sent = throughput_plots(course)
    assert [line.values[0] for line in jobs.groups[0][1]] == [2000.0, 200.0]
    assert sent.rows == [("0:00", "1.95 KiB/s")]


def test_what_the_server_tells_is_drawn_by_unit() -> None:
    told = {plot.unit: plot for plot in server_plots(timeline(pages.report()))}
    assert [line.label for line in told["count"].groups[0][1]] == ["running jobs", "waiting jobs", "connections"]
    assert told["bytes"].header == ("from", "arena used", "shared")


def test_a_server_that_did_not_answer_leaves_gaps() -> None:
    step = pages.step(number=3)
    silent = replace(step, series=[step.series[0], replace(step.series[1], server={}), step.series[2]])
    (plot, _) = server_plots(timeline(pages.report(silent)))
    assert [value is None for value in plot.groups[0][1][0].values] == [False, True, False, True]
    assert plot.rows[1][1:] == ("–", "–", "–")


def test_two_courses() -> None:
    courses = [(name, timeline(pages.report(pages.step(number=number)))) for name, number in (("a", 2), ("b", 3))]
    plot = courses_plot("jobs", "Jobs", "count", courses, lambda second: float(second.jobs))
    assert [row[0] for row in plot.rows] == ["0:00", "0:01", "0:02"]
    assert plot.rows[2][1] == "–"
    assert [len(places) for places, _ in plot.groups] == [3, 4]
