"""A run as people see it: durations to three figures, a line per second, the summary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from reports import report, step

from arraymill.load._gather import Seen
from arraymill.load._plan import read_plan
from arraymill.load._report import Verdict
from arraymill.load._view import LiveView, PlainView, duration_text, summary

SEEN = Seen(3.0, 1234, {"BusyError": 2}, 567.8, 2e6, [0.00123, 0.045, 1.5])
SERVER = {
    "running_jobs": 3.0,
    "waiting_jobs": 4.0,
    "busy_workers": 2.0,
    "arena_used_bytes": 2.0**20,
    "loop_lag_seconds": 0.002,
}
LINE = (
    "3 s, 1,234 jobs, 568/s, 1.91 MiB/s, p50 1.23 ms, p99 45 ms, max 1.5 s, 2 BusyError, "
    "3 run, 4 wait, 2 workers busy, arena 1 MiB, loop lag 2 ms\n"
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 µs"), (12.3e-6, "12.3 µs"), (999e-6, "999 µs"), (0.0123, "12.3 ms"), (7.891, "7.89 s"), (123.4, "123 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_plain_view_writes_a_line_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.step(1, 200.0)
    view.show(SEEN, SERVER)
    view.show(Seen(-1.0, 0, {}, 0.0, 0.0, []), {})
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"step 2: 200 jobs/s\n{LINE}warming up, 0 jobs, 0/s, 0 B/s\n"


def test_a_live_view_shows_a_table() -> None:
    from rich.console import Console

    shown = list[Any]()

    class Live:
        def update(self, table: Any) -> None:
            shown.append(table)

    view = LiveView(Live(), read_plan({"mix": "sum", "step_rate": "100:200:100"}, {}))
    view.step(1, 200.0)
    view.show(SEEN, SERVER)
    console = Console(width=120, record=True, file=None)
    with console.capture() as capture:
        console.print(shown[0])
    assert "step 2 of 2, 200 jobs/s, 8 clients" in capture.get()
    assert "p99 45 ms" in capture.get()


def test_a_summary_tells_all_of_a_step() -> None:
    text = "\n".join(summary(report()))
    for words in (
        "1,000; 100.0/s were answered within the time",
        "3 BusyError",
        "10 answers, none wrong",
        "p99.9",
        "computed",
        "passed",
        "p99>50ms",
    ):
        assert words in text


def test_a_summary_of_many_steps_has_a_line_for_each() -> None:
    told = replace(report(step(100.0), step(200.0), step(300.0)), knee=200.0, plan={"step_rate": [100, 200, 300]})
    lines = summary(replace(told, ended="interrupted"))
    assert [line.split()[0] for line in lines] == ["100", "200", "300", "knee", "passed", "ended", "*"]


def test_a_generator_that_is_the_limit_is_told() -> None:
    limit = step()
    limit = replace(limit, generator=replace(limit.generator, is_limit=True, reason="too busy"), latency=None)
    assert "generator     IT IS THE LIMIT: too busy" in summary(report(limit))


def test_verdicts_have_units_and_are_not_misread() -> None:
    verdicts = [
        Verdict(condition="p99>20ms", value=0.0295, is_met=True),
        Verdict(condition="error-rate>1%", value=0.0, is_met=False),
    ]
    lines = summary(replace(report(), verdicts=verdicts))
    assert "FAILED        p99>20ms: 29.5 ms measured" in lines
    assert "passed        not error-rate>1%: 0 % measured" in lines


def test_a_knee_that_no_higher_rate_bounds_is_the_least() -> None:
    limit = step(200.0)
    limit = replace(limit, generator=replace(limit.generator, is_limit=True, reason="too busy"))
    steps = {"step_rate": [50, 100, 200]}
    held = replace(report(step(50.0), step(100.0), limit), knee=100.0, plan=steps)
    lines = summary(held)
    assert "knee          at least 100 jobs/s" in lines
    assert "not counted   200 jobs/s: too busy" in lines
    assert "knee          50 jobs/s" in summary(replace(held, knee=50.0))


def test_times_are_not_rounded_up(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show(Seen(0.99, 246, {}, 248.0, 0.0, []), {})
    assert capsys.readouterr().err.startswith("0 s, 246 jobs, 248/s")
