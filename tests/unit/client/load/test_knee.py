"""The knee: the last rate before the first one that is not held."""

from __future__ import annotations

from dataclasses import replace

from reports import step

from arraymill.load._knee import find_knee
from arraymill.load._report import Step


def at(rate: float, *, answered: float = 1.0, scale: float = 1.0, errors: int = 0) -> Step:
    """Return a step of a rate, of which a part was answered, so many times slower."""
    errors_by_reason = {"BusyError": errors} if errors else {}
    return replace(step(rate, scale), kept_up=answered, jobs_per_second=0.5 * rate, errors=errors_by_reason)


def test_every_rate_that_is_held() -> None:
    assert find_knee([at(100), at(200), at(300)]) == 300


def test_jobs_that_are_not_answered_in_time() -> None:
    assert find_knee([at(100), at(200, answered=0.96), at(300, answered=0.9), at(400)]) == 200


def test_jobs_that_take_many_times_longer() -> None:
    assert find_knee([at(100, scale=2.0), at(200), at(300, scale=4.9), at(400, scale=5.2)]) == 300


def test_jobs_that_fail() -> None:
    assert find_knee([at(100, errors=10), at(200, errors=11)]) == 100


def test_a_generator_that_is_the_limit_says_nothing_of_the_server() -> None:
    limit = at(200)
    limit = replace(limit, generator=replace(limit.generator, is_limit=True))
    assert find_knee([at(100), limit]) == 100


def test_no_knee() -> None:
    assert find_knee([at(100, answered=0.5), at(200)]) is None
    assert find_knee([replace(at(100), latency=None)]) is None
    assert find_knee([step(None)]) is None
    assert find_knee([]) is None
