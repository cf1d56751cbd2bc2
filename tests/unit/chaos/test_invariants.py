"""Every invariant can be broken: a story that breaks it is told, in so many words, and one that does not is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from chaos.invariants import MOST_COMPLAINTS, Belongings, InvariantError, of_calls, of_stories, runs, secrets_in
from chaos.ledger import Call, Outcome


def call(**given: Any) -> Call:
    """A call that is as it must be, but for what is given."""
    fine: dict[str, Any] = {"key": "chaos-1-3", "end": 10.5, "outcome": Outcome.RIGHT}
    return Call(3, "sum of (2,)", 10.0, 5.0, **fine | given)


TOLD = "call 3 (sum of (2,) chaos-1-3)"

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "it has not ended": ({"end": None, "outcome": None}, f"no end: {TOLD}"),
    "a wrong answer": ({"outcome": Outcome.WRONG}, f"a wrong result: {TOLD} after 0.50 s of 5 s"),
    "an exception of another kind": (
        {"outcome": Outcome.BROKEN, "text": "KeyError('x')"},
        f"an undeclared exception: {TOLD} after 0.50 s of 5 s KeyError('x')",
    ),
    "an error": (
        {"outcome": Outcome.FAILED, "text": "WorkerError: oh"},
        f"a job lost: {TOLD} after 0.50 s of 5 s WorkerError: oh",
    ),
    "too long": ({"end": 16.01}, f"late: {TOLD} after 6.01 s of 5 s"),
    "too long, and in vain": (
        {"end": 16.01, "outcome": Outcome.EXPECTED, "text": "DeadlineError: oh"},
        f"late: {TOLD} after 6.01 s of 5 s DeadlineError: oh",
    ),
    "without a key": (
        {"key": "", "outcome": Outcome.WRONG},
        "a wrong result: call 3 (sum of (2,)) after 0.50 s of 5 s",
    ),
}

FINE: dict[str, dict[str, Any]] = {
    "a right answer": {},
    "an error that the fault makes right": {"outcome": Outcome.EXPECTED, "text": "BusyError: come later"},
    "it was cancelled": {"outcome": Outcome.CANCELLED},
    "just in time": {"end": 15.99},
}

TELLING = {
    "no such file: /var/lib/arraymill": "a path",
    "WorkerError: process 17 has gone": "a process",
    "WorkerError: it had PID=17": "a process",
    "Traceback (most recent call last):": "a traceback",
    'File "x.py"': "a traceback",
    "line 17, in run": "a traceback",
    "ipv4:10.0.0.7:4711 has left": "the peer 10.0.0.7:4711",
    "127.0.0.1:50051 knows ipv4:10.0.0.7": "the peer 10.0.0.7",
    "worker 4711 has died": "pid 4711",
    "the key chaos-1-4 is taken": "the key chaos-1-4",
}

SAYING = (
    "the key chaos-1-3 is taken",
    "no server answers at 127.0.0.1:4711 or unix:/run/arraymill/socket",
    "127.0.0.1:4711 does not answer: ipv4:127.0.0.1:4711: connect: refused (111)",
    "it takes 4,711 bytes of 24711, or 1.4711 s",
    "sum/mean of float32",
    "job 5b6b4711c4968685 has not ended",
    "process it again",
)


@pytest.mark.parametrize("name", BROKEN)
def test_a_call_that_is_not_as_it_must_be(name: str) -> None:
    given, complaint = BROKEN[name]
    assert of_calls([call(), call(**given), call()]) == [complaint]


@pytest.mark.parametrize("name", FINE)
def test_a_call_that_is_as_it_must_be(name: str) -> None:
    assert of_calls([call(**FINE[name])]) == []


def test_what_late_is_can_be_said() -> None:
    assert of_calls([call(end=24.0)], late_seconds=10.0) == []
    assert of_calls([call(end=15.5)], late_seconds=0.1) == [f"late: {TOLD} after 5.50 s of 5 s"]


def test_many_complaints_of_one_kind_are_counted() -> None:
    told = of_calls([call(outcome=Outcome.WRONG)] * (MOST_COMPLAINTS + 2) + [call(outcome=Outcome.FAILED)])
    assert (len(told), told[MOST_COMPLAINTS]) == (MOST_COMPLAINTS + 2, "a wrong result: 2 more")
    assert told[-1].startswith("a job lost: ")


@pytest.mark.parametrize("text", TELLING)
def test_an_error_that_tells_too_much(text: str) -> None:
    told = of_calls([call(outcome=Outcome.EXPECTED, text=text)], pids=[4711])
    assert told == [f"an error tells: {TELLING[text]} in: {text}"]


@pytest.mark.parametrize("text", SAYING)
def test_an_error_that_may_be_told(text: str) -> None:
    assert secrets_in(call(text=text), [4711]) == []


def test_a_key_that_was_executed_twice() -> None:
    once, twice = ["j1 added", "j1 failed out of luck", "j2 succeeded"], ["j3 succeeded", "j4 succeeded"]
    assert (runs([]), runs(once), runs(twice)) == (0, 1, 2)
    assert of_stories({"a@1": once, "a@2": once}) == []
    assert of_stories({"a@1": once, "b@1": twice}) == ["executed twice: b@1: j3 succeeded, j4 succeeded"]


NOTHING = Belongings(
    processes=4,
    descriptors=30,
    threads=9,
    tasks=7,
    leases=0,
    arena_used_bytes=0,
    shared_files=frozenset({"old"}),
    temporary_files=1,
)

LEFT: dict[str, tuple[Any, str]] = {
    "processes": (6, "2 processes (4 before, 6 now)"),
    "descriptors": (31, "1 descriptors (30 before, 31 now)"),
    "threads": (10, "1 threads (9 before, 10 now)"),
    "tasks": (8, "1 tasks (7 before, 8 now)"),
    "leases": (1, "1 leases (0 before, 1 now)"),
    "arena_used_bytes": (4096, "4,096 arena used bytes (0 before, 4,096 now)"),
    "shared_files": (frozenset({"old", "new"}), "shared files ['new']"),
    "temporary_files": (2, "1 temporary files (1 before, 2 now)"),
}


@pytest.mark.parametrize("name", Belongings.__slots__)
def test_what_is_left_behind(name: str) -> None:
    now, complaint = LEFT[name]
    assert replace(NOTHING, **{name: now}).beyond(NOTHING) == [f"left behind: {complaint}"]


def test_nothing_is_left_behind_when_there_is_less() -> None:
    assert NOTHING.beyond(NOTHING) == []
    assert Belongings(3, 20, 8, 6, 0, 0, frozenset(), 0).beyond(NOTHING) == []


def test_an_error_has_all_complaints_and_what_was_measured() -> None:
    error = InvariantError(["one", "two"], {"deaths": "500"})
    assert (str(error), error.complaints, error.figures) == ("one\ntwo", ("one", "two"), {"deaths": "500"})
