"""The contestants' side of the conversation, with NumPy's work and as a process."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from suite.contestant import Desk, serve
from suite.contestants.in_process import WORKS
from suite.lineup import Lineup
from suite.referee import command
from suite.task import Task

SUM = {"do": "prepare", "task": Task("sum", 8000, jobs=3).to_json()}


def conversation(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    answers = io.StringIO()
    serve(Desk(WORKS), io.StringIO("".join(f"{json.dumps(each)}\n" for each in messages)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_a_work_is_prepared_run_and_ended() -> None:
    ready, first, second, ended = conversation(SUM, {"do": "run"}, {"do": "run"}, {"do": "end"})
    assert (ready["ready"], ended) == (True, {"ended": True})
    assert {"seconds", "p99_seconds", "client_cpu_seconds", "workers_cpu_seconds"} <= set(first["figures"])
    assert first["computed"] is second["computed"] is True


def test_memory_is_measured_where_it_is_asked_for() -> None:
    task = Task("sqrt", 8 << 20, measures_memory=True).to_json()
    _, answer, _ = conversation({"do": "prepare", "task": task}, {"do": "run"}, {"do": "end"})
    assert answer["figures"]["servers_mib"] >= 0
    assert answer["figures"]["client_growth_mib"] >= 0


def test_errors_are_answers_and_the_conversation_goes_on() -> None:
    unknown = {"do": "prepare", "task": Task("juggle", 8).to_json()}
    answers = conversation({"do": "run"}, unknown, SUM, {"do": "run"}, {"do": "end"})
    assert ["error" in answer for answer in answers] == [True, True, False, False, False]
    assert answers[1]["error"] == "KeyError: 'juggle'"


def test_a_wrong_answer_is_an_error_every_time_until_it_is_right() -> None:
    works = {**WORKS, "mean": WORKS["sum"]}
    desk = Desk(works)
    lines = [{"do": "prepare", "task": Task("mean", 8000).to_json()}, {"do": "run"}, {"do": "run"}, {"do": "end"}]
    answers = io.StringIO()
    serve(desk, io.StringIO("\n".join(map(json.dumps, lines))), answers)
    told = [json.loads(line).get("error", "") for line in answers.getvalue().splitlines()]
    assert ["WrongAnswerError" in each for each in told] == [False, True, True, False]


def test_a_contestant_is_a_process_that_says_what_it_has(tmp_path: Path) -> None:
    with Lineup() as crew:
        words, variables = command("numpy", tmp_path)
        contestant = crew.start([sys.executable, *words[1:]], variables)
        assert list(contestant.hear(timeout=30)["versions"]) == ["numpy"]
        assert contestant.ask(SUM, timeout=30)["ready"]
        assert contestant.ask({"do": "run"}, timeout=30)["figures"]["seconds"] > 0


def test_a_contestant_whose_packages_are_not_here_says_so(tmp_path: Path) -> None:
    (tmp_path / "numexpr.py").write_text("raise ImportError('numexpr is not here')")
    with Lineup() as crew:
        _, variables = command("numpy", tmp_path)
        path = f"{tmp_path}:{variables['PYTHONPATH']}"
        contestant = crew.start([sys.executable, "-m", "suite.contestant", "numexpr"], {"PYTHONPATH": path})
        assert contestant.hear(timeout=30) == {"missing": "numexpr is not here"}
