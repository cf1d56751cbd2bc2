"""What is said about a job, and what is remembered of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from boards import SQRT, SUM, Stage
from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.errors import ComputationError, ParameterError
from arraymill_proto.limits import MAX_KEY_CHARS, MAX_PRIORITY
from arraymill_server.jobs.life import Event, Life, State
from arraymill_server.jobs.submitted import Figures, Submission, SubmittedJob


def submission(**terms: Any) -> Submission:
    return Submission("a", b"digest", **terms)


GOOD: list[dict[str, Any]] = [
    {},
    {"key": "k" * MAX_KEY_CHARS},
    {"key": "!~nightly-7/"},
    {"priority": 0},
    {"priority": MAX_PRIORITY},
    {"deadline_seconds": 0.0},
    {"deadline_seconds": -0.0},
    {"deadline_seconds": 5e-324},
    {"deadline_seconds": 1.7e308},
]


@pytest.mark.parametrize("terms", GOOD)
def test_terms_at_their_bounds(terms: dict[str, Any]) -> None:
    submission(**terms).check()


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"key": "k" * (MAX_KEY_CHARS + 1)}, "key", "the key has 129 characters, at most 128 are allowed"),
    ({"key": "k" * 100_000}, "key", "the key has 100,000 characters, at most 128 are allowed"),
    ({"key": "a b"}, "key", "the key 'a b' may have visible ASCII characters only"),
    ({"key": "a\n"}, "key", r"the key 'a\n' may have visible ASCII characters only"),
    ({"key": "é"}, "key", "the key 'é' may have visible ASCII characters only"),
    ({"key": "\x7f"}, "key", r"the key '\x7f' may have visible ASCII characters only"),
    ({"priority": MAX_PRIORITY + 1}, "priority", "the priority is 10, it must be 0 to 9"),
    ({"priority": 2**32 - 1}, "priority", "the priority is 4294967295, it must be 0 to 9"),
    (
        {"deadline_seconds": -5e-324},
        "deadline",
        "the deadline is in -4.94066e-324 s; give seconds above 0, or 0 for none",
    ),
    ({"deadline_seconds": math.inf}, "deadline", "the deadline is in inf s; give seconds above 0, or 0 for none"),
    ({"deadline_seconds": math.nan}, "deadline", "the deadline is in nan s; give seconds above 0, or 0 for none"),
]


@pytest.mark.parametrize(("terms", "parameter", "text"), BAD)
def test_terms_beyond_their_bounds(terms: dict[str, Any], parameter: str, text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        submission(**terms).check()
    assert (str(caught.value), caught.value.details) == (text, {"parameter": parameter})


@given(st.text(max_size=200))
def test_a_key_fits_a_line(key: str) -> None:
    """Whatever a client sends: what is accepted is visible, what is refused is told without control characters."""
    if key.isascii() and key.isprintable() and " " not in key and len(key) <= MAX_KEY_CHARS:
        submission(key=key).check()
        return
    with pytest.raises(ParameterError) as caught:
        submission(key=key).check()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


# ---------------------------------------------------------------------- the job


def test_a_job_by_itself() -> None:
    life = Life("j1", 0.0)
    job = SubmittedJob("j1", 1, submission(key="k"), 0.0, None, life, figures_at_end=Figures(8, 4, 1, 2))
    assert repr(job) == "<SubmittedJob j1: QUEUED>"
    assert (job.key, job.state, job.results) == ("k", State.QUEUED, ())
    assert job.figures == Figures(8, 4, 1, 2)
    life.on(Event.ADMIT, 1.0)
    assert job.state is State.RUNNING


def test_figures_while_it_runs_and_at_its_end(stage: Stage) -> None:
    job = stage.submit(SUM)
    feeder = stage.attach(job, SUM)
    assert job.figures == Figures(16384, 0, 0, 4)
    for frame in feeder.frames(feeder.wants[0]):
        feeder.call.send(frame)
    stage.settle()
    assert job.figures == Figures(16384, 4096, 0, 4)
    feeder.leave()
    stage.settle()
    assert job.figures.received_bytes == 4096, "what has come in full stays"
    stage.finish(job, SUM)
    assert (job.feed, job.figures, job.figures_at_end) == (None, Figures(16384, 16384, 4, 4), job.figures)


def test_results_are_there_until_they_expire(stage: Stage) -> None:
    job = stage.submit(SQRT)
    stage.finish(job, SQRT)
    assert job.report is not None
    assert job.results == job.report.arrays
    assert len(job.results) == 3
    stage.pass_time(101.0)
    assert stage.bench.get(job.id).state is State.EXPIRED
    assert not job.results


def test_every_caller_gets_an_error_of_his_own(stage: Stage) -> None:
    """What is raised collects the frames of whoever raises it."""
    job = stage.submit(SUM)
    stage.fail(job, SUM, ComputationError("no", number=7))
    errors = [job.failure() for _ in range(2)]
    assert errors[0] is not errors[1]
    assert job.results == ()
    assert [(type(error), str(error), error.details) for error in errors] == [
        (ComputationError, "no", {"number": "7"})
    ] * 2
