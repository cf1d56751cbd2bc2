"""The command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from suite import __main__ as command


def nothing(*_: object) -> None:
    """Stand in for what would change this process."""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["suite", *arguments])
    return command.main()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "sum,juggling"), "'juggling' is none of sum, mean"),
        (("--contestants", "magic"), "'magic' is none of arraymill"),
        (("--sizes", "big"), "write 256MiB or 1GiB"),
        (("--rounds", "0"), "no number of rounds"),
    ],
)
def test_bad_options_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert words in capsys.readouterr().err


def test_a_row_is_measured_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = ["--rows", "sum,idle", "--contestants", "numpy,ray", "--sizes", "1MiB", "--rounds", "2"]
    folders = ["--results", str(tmp_path / "results"), "--environments", str(tmp_path)]
    monkeypatch.setattr("signal.signal", nothing)
    assert run(monkeypatch, *options, *folders) == 0
    text = (tmp_path / "results/sum.md").read_text()
    assert "| NumPy in process |" in text
    assert "Ray took no part: its environment 'peers' is not there" in text
    assert [path.name for path in (tmp_path / "results").iterdir() if "idle" in path.name] == []


def test_a_row_of_which_nothing_was_measured_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders = ["--results", str(tmp_path / "results"), "--environments", str(tmp_path)]
    monkeypatch.setattr("signal.signal", nothing)
    assert run(monkeypatch, "--rows", "sum", "--contestants", "ray", *folders) == 1
