"""`make chaos`: what it prints, and its exit code."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from chaos import __main__ as module
from chaos.figures import Figures
from chaos.invariants import InvariantError
from chaos.machine import NotHereError


class Row:
    """A row that does nothing, and what comes of it."""

    def __init__(self, outcome: Exception | Figures) -> None:
        self.fault, self.load = "a fault", "a load"
        self.outcome = outcome
        self.given: list[tuple[int, dict[str, Any]]] = []

    async def run(self, seed: int, **arguments: Any) -> Figures:
        self.given.append((seed, arguments))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    rows = {
        "good": Row({"jobs": "5"}),
        "bad": Row(InvariantError(["no end: a", "late: b"], {"jobs": "6"})),
        "elsewhere": Row(NotHereError("no rights")),
        "soak": Row({}),
    }
    monkeypatch.setattr(module, "ROWS", rows)
    watch = SimpleNamespace(dump_traceback_later=Mock(), cancel_dump_traceback_later=Mock())
    monkeypatch.setattr(module, "faulthandler", watch)  # pytest's own watch is the same
    return rows


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chaos", *arguments])
    return module.main()


def test_what_does_not_hold(
    rows: dict[str, Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "good", "bad", "--seed", "7") == 1
    told = re.sub(r"after \d+ s", "after 0 s", capsys.readouterr().out)
    assert told.splitlines() == [
        'replay with make chaos ARGS="good bad --seed 7"',
        "good: holds after 0 s",
        "bad: broken after 0 s",
        "  no end: a",
        "  late: b",
        "",
        "| fault | load | figures | invariants |",
        "|---|---|---|---|",
        "| a fault | a load | jobs: 5 | all hold |",
        "| a fault | a load | jobs: 6 | no end: a; late: b |",
    ]
    assert rows["good"].given == [(7, {"is_short": False})]
    assert not rows["soak"].given


def test_what_cannot_be_tried_breaks_nothing(
    rows: dict[str, Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "elsewhere", "soak", "--short", "--minutes", "5", "--seed", "7") == 0
    told = capsys.readouterr().out
    assert told.startswith('replay with make chaos ARGS="elsewhere soak --short --minutes 5 --seed 7"\n')
    assert "not tried: no rights" in told
    assert rows["soak"].given == [(7, {"is_short": True, "minutes": 5.0})]


def test_all_rows_by_a_seed_that_is_told(
    rows: dict[str, Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 1
    seeds = {seed for row in rows.values() for seed, _ in row.given}
    assert len(seeds) == 1
    assert f'ARGS="good bad elsewhere soak --seed {seeds.pop()}"' in capsys.readouterr().out


def test_a_row_that_does_not_exist(
    rows: dict[str, Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "good", "worse")
    assert "no row worse: there are good, bad, elsewhere, soak" in capsys.readouterr().err
    assert not rows["good"].given
