"""The tally of a generator, and what the load tester makes of several."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from arraymill.load import _gather
from arraymill.load._gather import Gathering, make_step
from arraymill.load._report import Step
from arraymill.load._tally import UNFINISHED, WRONG, Tally
from arraymill_proto.v1 import arraymill_pb2 as pb

NAMES = ("sum", "sqrt")


def through_a_pipe(told: Any) -> Any:
    return json.loads(json.dumps(told))


def gathered(*tallies: Tally, rate: float | None = 10.0, share: float = 0.1, was_full: bool = False) -> Step:
    """Return the step of some generators."""
    gathering = Gathering(0)
    for tally in tallies:
        gathering.add(through_a_pipe({"seconds": tally.news()}))
    results: list[dict[str, Any]] = [
        {**through_a_pipe(tally.result()), "cpu_share": share, "was_full": was_full} for tally in tallies
    ]
    for at, jobs in ((-0.5, 9.0), (0.5, 1.0), (1.2, 2.0), (1.9, 3.0)):
        gathering.answered(at, {"running_jobs": jobs})
    names = NAMES[: len(results[0]["parts"])]
    return make_step(gathering, results, names, rate=rate, clients=4)


def tally(shift: float = 0.0) -> Tally:
    """Return what is known of ten jobs, one in each fifth of a second, the first of which does not count."""
    made = Tally(2, 2.0)
    times = pb.JobTimes(total=0.004, queued=0.001, computed=0.002)
    for number in range(-1, 9):
        intended = 0.2 * number + shift
        made.sent(intended, intended + 0.001)
        made.succeeded(number % 2, 100, intended, intended + 0.001, intended + 0.011, times=times)
    made.sent(1.8 + shift, 1.8 + shift)
    made.failed(1, 1.8 + shift, "BusyError")
    return made


def test_jobs_of_several_generators_are_added() -> None:
    step = gathered(tally(), tally(0.1))
    assert step.jobs == 9 + 9  # one of each is meant to be sent before the begin
    assert step.errors == {"BusyError": 2}
    assert step.bytes == 1800
    assert step.latency is not None
    assert step.latency.count == 18
    assert step.latency.quantiles["0.5"] == pytest.approx(0.011, rel=1e-3)
    assert step.service is not None
    assert step.service.quantiles["0.99"] == pytest.approx(0.010, rel=1e-3)
    assert [part.name for part in step.parts] == ["sum", "sqrt"]
    assert sum(part.jobs for part in step.parts) == step.jobs
    assert step.parts[1].errors == {"BusyError": 2}


def test_what_ends_in_time_makes_the_throughput() -> None:
    made = Tally(1, 2.0)
    made.succeeded(0, 10, -0.5, -0.5, 0.5, times=None)  # sent in the warm-up, ended in the step
    made.succeeded(0, 10, 0.5, 0.5, 1.5, times=None)
    made.succeeded(0, 10, 1.5, 1.5, 2.5, times=None)  # ended when the step was over
    step = gathered(made)
    assert step.jobs == 2
    assert step.jobs_per_second == 1.0
    assert step.bytes_per_second == 10.0


def test_the_time_of_a_job_is_split() -> None:
    step = gathered(tally())
    assert step.phases["queued"].mean == pytest.approx(0.001, rel=1e-2)
    assert step.phases["computed"].mean == pytest.approx(0.002, rel=1e-2)
    assert step.phases["elsewhere"].mean == pytest.approx(0.010 - 0.003, rel=1e-2)
    assert step.service is not None
    assert sum(phase.mean for phase in step.phases.values()) == pytest.approx(step.service.mean, rel=1e-2)


def test_seconds_are_those_of_the_intended_send() -> None:
    made = Tally(1, 2.0)
    made.succeeded(0, 10, 0.5, 1.5, 1.9, times=None)
    first, second = gathered(made).series
    assert (first.jobs, second.jobs) == (1, 0)
    assert first.p99 == pytest.approx(1.4, rel=1e-3)
    assert second.p99 is None
    assert (first.server, second.server) == ({"running_jobs": 1.0}, {"running_jobs": 3.0})


def test_what_comes_after_the_end_has_seconds_too() -> None:
    made = Tally(1, 0.5)
    made.succeeded(0, 10, 0.4, 0.4, 9.0, times=None)
    (second,) = gathered(made).series
    assert (second.seconds, second.jobs) == (0.5, 1)


def test_counted_jobs_end_with_the_last() -> None:
    made = Tally(1, float("inf"))
    made.succeeded(0, 10, 0.1, 0.1, 0.5, times=None)
    step = gathered(made, rate=None)
    assert (step.seconds, step.jobs_per_second) == (0.5, 2.0)


def test_counted_jobs_are_not_those_of_the_warm_up() -> None:
    made = Tally(1, float("inf"))
    made.succeeded(0, 10, -0.2, -0.2, 0.1, times=None)
    made.succeeded(0, 10, 0.1, 0.1, 0.5, times=None)
    step = gathered(made, rate=None)
    assert (step.jobs_per_second, step.bytes_per_second) == (2.0, 20.0)


def test_answers_that_come_soon_after_the_end_have_kept_up() -> None:
    """A step of 10 s: half a second more, and what the quickest job took."""
    made = Tally(1, 10.0)
    for intended, ended in ((1.0, 2.0), (9.9, 10.9), (9.9, 11.45), (9.9, 11.6)):
        made.sent(intended, intended)
        made.succeeded(0, 1, intended, intended, ended, times=None)
    assert gathered(made).kept_up == 0.75
    assert gathered(made, rate=None).kept_up is None


def test_wrong_answers_are_errors() -> None:
    made = Tally(1, 1.0)
    made.checked(0.1, is_right=True)
    made.checked(0.2, is_right=False)
    made.checked(-0.2, is_right=False)
    made.failed(0, 0.2, WRONG)
    step = gathered(made)
    assert (step.checked, step.wrong, step.errors) == (2, 1, {WRONG: 1})
    assert step.latency is None


def test_news_are_told_once() -> None:
    made = tally()
    assert made.news()
    assert made.news() == {}


def test_long_runs_have_longer_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gather, "MAX_INTERVALS", 20)
    gathering = Gathering(0)
    for second in range(80):
        made = Tally(1, float("inf"))
        made.succeeded(0, 1, second, second, second + 0.5, times=None)
        gathering.add({"seconds": made.news()})
        gathering.answered(second + 0.5, {"running_jobs": second})
    series = gathering.series(80.0)
    assert len(series) <= 20
    assert sum(second.jobs for second in series) == 80
    assert all(second.jobs == second.seconds == series[1].at for second in series)
    assert [second.server["running_jobs"] for second in series] == [second.at + second.seconds - 1 for second in series]


def test_what_is_shown_is_of_the_last_second_however_long_the_intervals_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gather, "MAX_INTERVALS", 2)
    gathering = Gathering(0)
    for second in range(20):
        made = Tally(1, float("inf"))
        for _ in range(second):
            made.succeeded(0, 10, second, second, second + 0.5, times=None)
        gathering.add({"seconds": made.news()})
    seen = gathering.seen(19.0)
    assert (seen.jobs_per_second, seen.bytes_per_second) == (18.0, 180.0)
    assert seen.quantiles == pytest.approx([0.5] * 3, rel=1e-3)


def test_news_of_an_interval_are_merged_as_they_come() -> None:
    gathering = Gathering(0)
    for number in range(100):
        made = Tally(1, float("inf"))
        made.succeeded(0, 10, 0.5, 0.5, 0.5 + number / 100, times=None)
        gathering.add({"seconds": made.news()})
    (interval,) = cast("Any", gathering)._intervals.values()
    assert len(interval.histograms) <= _gather.MAX_ENCODED
    (second,) = gathering.series(1.0)
    assert second.jobs == 100
    assert second.p50 == pytest.approx(0.49, rel=1e-2)


def test_the_rest_of_a_second_is_no_interval_of_its_own() -> None:
    made = Tally(1, float("inf"))
    made.succeeded(0, 10, 0.5, 0.5, 0.6, times=None)
    made.succeeded(0, 10, 1.0, 1.0, 1.001, times=None)
    (second,) = gathered(made, rate=None).series
    assert (second.jobs, second.seconds) == (2, 1.001)


# ------------------------------------------------------------------ whether the generator was the limit


def late(seconds: float, latency: float, *, jobs: int = 100) -> Tally:
    """Return what is known of jobs that were sent too late."""
    made = Tally(1, 10.0)
    for number in range(jobs):
        intended = number * 10 / jobs
        made.sent(intended, intended + seconds)
        made.succeeded(0, 1, intended, intended + seconds, intended + latency, times=None)
    return made


def test_a_generator_in_time_is_no_limit() -> None:
    generator = gathered(late(0.0001, 0.01)).generator
    assert not generator.is_limit
    assert generator.sent_per_second == 10.0
    assert generator.late is not None


def test_a_generator_that_sends_too_few_is_the_limit() -> None:
    generator = gathered(late(0.5, 10.0)).generator
    assert generator.is_limit
    assert generator.sent_per_second == pytest.approx(9.5, rel=0.01)
    assert "sent 95.0% of 10 jobs/s in time" in generator.reason


def test_a_busy_generator_is_the_limit() -> None:
    generator = gathered(late(0.0, 0.01), share=0.95).generator
    assert generator.is_limit
    assert "95% of a core" in generator.reason


def test_a_late_generator_is_the_limit() -> None:
    generator = gathered(late(0.01, 0.05), share=0.6).generator
    assert generator.is_limit
    assert "sent 10 ms after their time or later, while an answer took 40 ms (p99): give it more" in generator.reason
    assert not gathered(late(0.01, 5.0)).generator.is_limit  # that is nothing beside what the server takes
    assert not gathered(late(0.004, 0.01)).generator.is_limit  # nor are a few milliseconds


def test_a_generator_that_waits_for_its_machine_is_not_told_to_have_more_processes() -> None:
    reason = gathered(late(0.01, 0.05), share=0.06).generator.reason
    assert "used 6% of a core, so its machine is busy" in reason
    assert "--processes" not in reason


def test_a_server_that_leaves_no_room_is_the_limit_itself() -> None:
    assert not gathered(late(0.5, 10.0), was_full=True).generator.is_limit


def test_a_closed_loop_is_not_late() -> None:
    generator = gathered(late(0.0, 0.01), rate=None).generator
    assert (generator.sent_per_second, generator.late, generator.is_limit) == (None, None, False)


def test_unfinished_is_a_reason() -> None:
    made = Tally(1, 1.0)
    made.failed(0, 0.5, UNFINISHED)
    assert gathered(made).errors == {UNFINISHED: 1}


def test_the_first_second_is_seen_before_it_is_over() -> None:
    made = Tally(1, 10.0)
    for number in range(5):
        made.succeeded(0, 100, 0.1 * number, 0.1 * number, 0.5, times=None)
    gathering = Gathering(0)
    assert gathering.seen(-0.5).jobs_per_second == 0.0
    gathering.add(through_a_pipe({"seconds": made.news()}))
    assert gathering.seen(0.5).jobs_per_second == pytest.approx(10.0)
    assert gathering.seen(1.5).jobs_per_second == pytest.approx(5.0)
