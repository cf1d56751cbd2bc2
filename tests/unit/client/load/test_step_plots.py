"""Plots of steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import report_pages as pages

from arraymill.load._step_plots import rate_plot, rates_plot, step_curves


def test_one_step_has_the_curve_from_the_real_send_beside_it() -> None:
    labels = [lines[0].label for _, lines in step_curves(pages.report()).groups]
    assert labels == ["latency", "from the real send"]
    assert [lines[0].label for _, lines in step_curves(pages.one_second()).groups] == ["latency"], "a closed loop"


def test_a_curve_grows_and_ends_at_the_largest() -> None:
    step = pages.step()
    assert step.latency is not None
    ((places, (line,)), *_) = step_curves(pages.report(step)).groups
    assert places == sorted(set(places))
    assert line.values[-1] == step.latency.maximum


def test_a_curve_without_points_is_that_of_the_quantiles() -> None:
    bare = replace(pages.step(), latency=replace(pages.distribution(0.002), curve=[]))
    ((places, _), *_) = step_curves(pages.report(bare)).groups
    assert len(places) == 7


def test_steps_go_from_one_end_of_the_ramp_to_the_other() -> None:
    colors = [lines[0].color for _, lines in step_curves(pages.stepped()).groups]
    assert colors == [0, 0.25, 0.5, 0.75, 1]


def test_the_knee_is_marked() -> None:
    plot = rate_plot(pages.stepped())
    assert plot.marks == [(6000, "knee")]
    assert plot.groups[0][0] == [1000, 2000, 4000, 6000, 8000]
    assert [row[0] for row in plot.rows][3] == "6,000 jobs/s (knee)"


def test_steps_of_clients_have_no_knee() -> None:
    steps = [replace(pages.step(None), clients=clients) for clients in (16, 4)]
    plot = rate_plot(pages.report(*steps))
    assert (plot.title, plot.x, plot.groups[0][0], plot.marks) == ("Clients against latency", "clients", [4, 16], [])


def test_two_runs_of_rates() -> None:
    after = replace(pages.stepped(), steps=pages.stepped().steps[:2], knee=2000.0)
    plot = rates_plot(pages.stepped(), after)
    assert plot.marks == [(2000, "knee after"), (6000, "knee before")]
    assert plot.rows[4][2] == "–"
    assert plot.groups[1][1][0].values == pytest.approx(plot.groups[0][1][0].values[:2])
