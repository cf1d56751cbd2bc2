"""The plan: options and TOML files have the same keys, and contradictions are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arraymill._text.errors import InputError
from arraymill.load._plan import Plan, read_file, read_plan
from arraymill.load._schedule import Arrival

FILE = """
rate = 500
arrival = "poisson"
duration = "90s"
clients = 3
processes = 2
fail_if = ["p99>50ms", "errors>0"]

[[mix]]
work = "sum"
size = "8KiB"
"""


def test_a_file_and_options_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "load.toml"
    path.write_text(FILE)
    options = {
        "rate": "500/s",
        "arrival": "poisson",
        "duration": "1.5min",
        "clients": "3",
        "processes": "2",
        "fail_if": ("p99>50ms", "errors>0"),
        "mix": "sum:8KiB",
    }
    plan = read_plan(read_file(path), {})
    assert plan == read_plan({}, options)
    assert (plan.rates, plan.arrival, plan.duration) == ((500.0,), Arrival.POISSON, 90.0)


def test_options_go_before_the_file() -> None:
    assert read_plan({"mix": "sum", "clients": 3}, {"clients": "5"}).clients == 5


@pytest.mark.parametrize(
    ("file", "option", "dropped"),
    [
        ({"rate": 5}, {"step_rate": "1:3:1"}, "rate"),
        ({"step_rate": [1, 2]}, {"rate": "5"}, "step_rate"),
        ({"duration": "3s"}, {"count": "7"}, "duration"),
        ({"count": 7}, {"duration": "3s"}, "count"),
    ],
)
def test_options_go_before_what_excludes_them(file: dict[str, Any], option: dict[str, Any], dropped: str) -> None:
    plan = read_plan({"mix": "sum", **file}, option)
    assert plan == read_plan({"mix": "sum"}, option)
    assert getattr(plan, dropped) == getattr(Plan(mix=()), dropped)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rate": 100},
        {"count": 50, "in_flight": 3},
        {"step_rate": "100:300:100", "arrival": "poisson", "fail_if": "knee<200"},
    ],
)
def test_its_document_is_a_file_that_says_the_same(options: dict[str, Any]) -> None:
    plan = read_plan({"mix": "sum:1MiB, (a + b):10x10:float32*2"}, options)
    assert read_plan(plan.document(), {}) == plan


def test_steps_grow_by_a_number_or_a_factor() -> None:
    def rates(text: object) -> tuple[float | None, ...]:
        return read_plan({"mix": "sum", "step_rate": text}, {}).rates

    assert rates("100:400:100") == (100, 200, 300, 400)
    assert rates("0.1:0.3:0.1") == pytest.approx((0.1, 0.2, 0.3))
    assert rates("100:1000:x2") == (100, 200, 400, 800)
    assert rates([1, 5, 7.5]) == (1, 5, 7.5)


def test_processes_are_no_more_than_clients() -> None:
    assert read_plan({"mix": "sum", "clients": 1}, {}).processes == 1


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "nothing says what to send"),
        ({"mix": "sum", "raet": 3}, "there is no key 'raet': did you mean rate?"),
        ({"mix": "sum", "rate": 3, "step_rate": "1:2:1"}, "rate and step_rate exclude each other"),
        ({"mix": "sum", "count": 3, "duration": 3}, "count and duration exclude each other"),
        ({"mix": "sum", "in_flight": 3, "rate": 3}, "in_flight and rate exclude each other"),
        ({"mix": "sum", "arrival": "poisson"}, "arrival is for an open loop"),
        ({"mix": "sum", "rate": 3, "arrival": "posson"}, "arrival: 'posson' is no arrival: did you mean poisson?"),
        ({"mix": "sum", "fail_if": "knee<5"}, "a knee is found only where rates grow"),
        ({"mix": "sum", "rate": "0"}, "rate: '0' is no rate"),
        ({"mix": "sum", "rate": "fast"}, "rate: 'fast' is no rate"),
        ({"mix": "sum", "rate": 1e9}, "is no rate"),
        ({"mix": "sum", "rate": True}, "is no rate"),
        ({"mix": "sum", "step_rate": "1:2"}, "is not FIRST:LAST:STEP"),
        ({"mix": "sum", "step_rate": "1:2:3:4"}, "is not FIRST:LAST:STEP"),
        ({"mix": "sum", "step_rate": "1:100:x1"}, "the factor x1 must be more than 1"),
        ({"mix": "sum", "step_rate": [3, 2]}, "growing rates"),
        ({"mix": "sum", "step_rate": "1:100000:1"}, "200 growing rates or fewer"),
        ({"mix": "sum", "duration": "soon"}, "duration: 'soon' is not a duration"),
        ({"mix": "sum", "duration": "3parsec"}, "no known unit"),
        ({"mix": "sum", "duration": 0}, "is not from 0.1 s to a week"),
        ({"mix": "sum", "clients": "many"}, "clients: 'many' is not a whole number from 1"),
        ({"mix": "sum", "clients": 2.5}, "clients: '2.5' is not a whole number"),
        ({"mix": "sum", "clients": 2, "processes": 3}, "3 processes cannot share 2 clients"),
        ({"mix": "sum", "fail_if": 7}, "neither a condition nor a list"),
        ({"mix": "sum", "fail_if": ["slow"]}, "'slow' is no condition"),
    ],
)
def test_what_has_no_meaning_is_told(given: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        read_plan(given, {})
    assert line in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.toml: No such file"):
        read_file(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(InputError, match=r"bad\.toml is no TOML"):
        read_file(tmp_path / "bad.toml")


def test_a_plan_is_open_when_it_has_a_rate() -> None:
    assert not Plan(mix=()).is_open
    assert Plan(mix=(), rate=3.0).is_open
    assert Plan(mix=(), step_rate=(3.0,)).is_open
