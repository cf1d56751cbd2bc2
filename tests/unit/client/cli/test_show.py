"""Values as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from arraymill.cli._show import plain, seconds_text, show_json, show_table, show_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.1) + np.float64(0.2), "0.30000000000000004"),
        (np.float32(1) / np.float32(3), "0.33333334"),
        (np.int64(7), "7"),
        (np.bool_(True), "True"),
        (np.complex128(1 - 2j), "(1-2j)"),
        (np.array([[1, 2], [3, 4]]), "[[1 2]\n [3 4]]"),
        (np.zeros((0, 3)), "[]"),
    ],
)
def test_values_are_printed_as_numpy_prints_them(value: Any, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_value(value, as_json=False)
    assert capsys.readouterr().out == f"{text}\n"


def test_long_arrays_are_summarised_but_complete_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_value(np.arange(2000), as_json=False)
    assert "..." in capsys.readouterr().out
    show_value(np.arange(2000), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"shape": [2000], "dtype": "int64", "value": list(range(2000))}


def test_json_says_what_json_cannot_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain([1.5, float("nan"), [float("inf"), -float("inf")], True, 1 + 2j]) == [
        1.5,
        "nan",
        ["inf", "-inf"],
        True,
        [1.0, 2.0],
    ]
    with pytest.raises(ValueError, match="JSON"):
        show_json(float("nan"))


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name", "count"), [("a", 5), ("longer", 12345)])
    assert capsys.readouterr().out == "name    count\na           5\nlonger  12345\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0124, "12 ms"), (0.9999, "1 s"), (1.25, "1.25 s"), (99, "99 s"), (185, "3:05"), (7200, "2:00:00")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("columns", "expected"), [("200", "ab  a long text\n"), ("9", "ab  a lo…\n")])
def test_a_table_fits_a_terminal(
    columns: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_table(("x", "y"), [("ab", "a long text")], fit=True)
    assert capsys.readouterr().out == f"x   y\n{expected}"
    show_table(("x", "y"), [("ab", "a long text")])
    assert capsys.readouterr().out.endswith("ab  a long text\n")


def test_a_table_that_is_piped_is_not_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "5")
    show_table(("x", "y"), [("ab", "a long text")], fit=True)
    assert capsys.readouterr().out.endswith("ab  a long text\n")
