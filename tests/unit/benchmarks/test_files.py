"""The files of a row's results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from suite.files import picture, plot, rewrite, write
from suite.quantities import milliseconds
from suite.report import markdown
from suite.results import Results, Round
from suite.row import SMALL, Entry, Row
from suite.rows import ROWS

ROW = Row("A row", "sum", (Entry("A", "numpy"), Entry("B", "ray")), milliseconds())
MACHINE = {"date": "2026-01-02", "cores": 2, "cpu": "abacus", "python": "3.11.7", "others_cores": 0.25}
ONE = Round(1 << 20, {"A": [{"seconds": 1.0}, {"seconds": 3.0}], "B": [{"seconds": 2.0}] * 2})
TWO = Round(2 << 20, {"A": [{"seconds": 4.0}]}, {"B": "it died"})


def results(*sizes: Round) -> Results:
    return Results("sum", MACHINE, {}, 2, list(sizes))


def test_a_picture_has_every_round_of_everybody() -> None:
    assert picture(ROW, results(ONE, TWO)) == {
        "title": "A row",
        "unit": "ms",
        "labels": ["A", "B"],
        "sizes": [1 << 20, 2 << 20],
        "values": {"A": {1 << 20: [1000.0, 3000.0], 2 << 20: [4000.0]}, "B": {1 << 20: [2000.0] * 2}},
    }


def test_samples_and_report_are_written_even_where_there_is_no_plot(tmp_path: Path) -> None:
    text = write(ROW, results(ONE), tmp_path, tmp_path)
    assert "no plot: matplotlib's environment" in text
    assert json.loads((tmp_path / "sum.json").read_text())["row"] == "sum"
    assert text.startswith((tmp_path / "sum.md").read_text())
    assert not (tmp_path / "sum.svg").exists()


def test_reports_are_written_anew_from_the_samples(tmp_path: Path) -> None:
    row = ROWS["start"]
    Results("start", MACHINE, {}, 2, [Round(SMALL, {"arraymill": [{"seconds": 1.5}]})]).save(tmp_path / "start.json")
    rewrite(tmp_path)
    assert (tmp_path / "start.md").read_text() == markdown(row, Results.load(tmp_path / "start.json"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["report.md", "start.json", "start.md"]
    report = (tmp_path / "report.md").read_text()
    assert "| arraymill, s | at most 2 | 1.5 | kept |" in report
    assert (tmp_path / "start.md").read_text() in report


def test_what_matplotlib_has_to_say_is_told(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('out of ink')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert plot(picture(ROW, results(ONE)), tmp_path / "x.svg", python) == "no plot: ImportError: out of ink\n"
    assert plot(picture(ROW, results(Round(8, {}))), tmp_path / "x.svg", python) == "no plot: nobody took part\n"


@pytest.mark.parametrize("sizes", [(ONE,), (ONE, TWO)], ids=["bars", "lines"])
def test_a_plot_is_drawn_where_matplotlib_is(tmp_path: Path, sizes: tuple[Round, ...]) -> None:
    python = Path(sys.prefix, "peers/bin/python")
    if not python.exists():
        pytest.skip("matplotlib comes with make bench")
    assert not plot(picture(ROW, results(*sizes)), tmp_path / "x.svg", python)
    assert "A row" in (tmp_path / "x.svg").read_text()
