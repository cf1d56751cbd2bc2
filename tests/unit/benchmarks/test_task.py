"""What times the calls of contestants."""

from __future__ import annotations

import json
from math import isclose

import pytest

from suite.task import Task, all_at_once, of_latencies, one_by_one


def test_a_task_travels_as_json() -> None:
    task = Task("sum", 8, 2, 3, 4, {"bulk": False}, measures_memory=True)
    assert Task(**json.loads(json.dumps(task.to_json()))) == task


def test_each_of_many_calls_is_timed() -> None:
    answers = iter(range(5))
    figures, answer = one_by_one(lambda: next(answers), 5)()
    assert answer == 4
    assert 0 < figures["seconds"] == figures["p50_seconds"] <= figures["p99_seconds"]
    assert figures["jobs"] == 5


def test_an_answer_is_dropped_before_the_next_one_is_made() -> None:
    class Answer:
        alive = 0

        def __init__(self) -> None:
            assert not Answer.alive
            Answer.alive += 1

        def __del__(self) -> None:
            Answer.alive -= 1

    one_by_one(Answer, 3)()


def test_many_jobs_at_once_are_timed_together() -> None:
    figures, answers = all_at_once(lambda: [1.0] * 10, 10)()
    assert answers == [1.0] * 10
    assert isclose(figures["jobs_per_second"], 1 / figures["seconds"])


def test_a_lost_job_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="9 answers to 10 jobs"):
        all_at_once(lambda: [1.0] * 9, 10)()


def test_latencies_are_summed_up_by_their_percentiles() -> None:
    figures = of_latencies([float(each) for each in range(1, 102)])
    assert figures == {"seconds": 51.0, "p50_seconds": 51.0, "p99_seconds": 100.0, "jobs": 101}
