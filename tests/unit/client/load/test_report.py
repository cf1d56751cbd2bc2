"""The document: what is written is what is read, and what is no report is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reports import report, step

from arraymill._text.errors import InputError
from arraymill.load._report import from_json, read_report, to_json

CHANGES: list[tuple[Callable[[Any], object], str]] = [
    (lambda told: told.update(format=2), "a report of format 2; this arraymill reads format 1"),
    (lambda told: told.pop("steps"), "steps is missing"),
    (lambda told: told.update(steps={}), "steps is '{}', not a list"),
    (lambda told: told["steps"].append(3), r"steps\[1\] is '3', not an object"),
    (lambda told: told["steps"][0].update(jobs=1.5), r"steps\[0\].jobs is '1.5', not a whole number"),
    (
        lambda told: told["steps"][0].update(errors={"a": None}),
        r"steps\[0\].errors.a is 'None', not a whole number",
    ),
    (lambda told: told["steps"][0]["latency"].update(curve=[[1]]), r"curve\[0\] is '\[1\]', not a list of 2"),
    (lambda told: told["verdicts"][0].update(is_met=0), r"is_met is '0', not true or false"),
    (lambda told: told.update(title=None), "title is 'None', not a text"),
]


def test_what_is_written_is_read() -> None:
    told = report(step(), step(None))
    assert from_json(to_json(told)) == told


def test_numbers_that_json_does_not_have_are_none() -> None:
    told = to_json(replace(report(), plan={"timeout": float("inf")}))
    assert from_json(told).plan == {"timeout": None}


def test_keys_of_a_later_version_are_passed_over() -> None:
    told = json.loads(to_json(report()))
    told["steps"][0]["colour"] = "green"
    assert from_json(json.dumps(told)) == report()


@pytest.mark.parametrize(("change", "line"), CHANGES)
def test_a_field_that_is_wrong_is_named(change: Callable[[Any], object], line: str) -> None:
    told = json.loads(to_json(report()))
    change(told)
    with pytest.raises(InputError, match=line):
        from_json(json.dumps(told))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", "[" * 100_000])
def test_what_is_no_report_is_told(text: str) -> None:
    with pytest.raises(InputError, match="no report of a load test"):
        from_json(text)


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match=r"a\.json: No such file"):
        read_report(path)
    path.write_text("?")
    with pytest.raises(InputError, match=r"a\.json: no report"):
        read_report(path)
    path.write_text(to_json(report()))
    assert read_report(path) == report()
