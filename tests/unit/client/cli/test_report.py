"""`arraymill report`: figures, comparisons, pages, and one line for what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import report_pages as pages

from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode
from arraymill.load._report import Report, from_json, to_json
from arraymill.load._view import summary


@cache
def documents() -> dict[str, str]:
    """Reports as JSON."""
    reports: dict[str, Report] = {
        "a": pages.report(),
        "b": replace(pages.report(pages.step(middle=0.001)), title="faster", server={"workers": 8}),
        "steps": pages.stepped(),
        "few": pages.report(replace(pages.step(), latency=pages.distribution(0.002, count=50))),
        "hostile": replace(pages.hostile(), title="\x1b[31m\ud800red"),
        "nothing": pages.nothing(),
    }
    return {name: to_json(told) for name, told in reports.items()}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, text in documents().items():
        Path(f"{name}.json").write_text(text)


def test_the_figures_of_one_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "a.json"]) == ExitCode.OK
    told = capsys.readouterr().out.splitlines()
    assert told[1:] == summary(from_json(documents()["a"]))
    assert "1,994.0/s" in told[2]


def test_several_steps_are_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "steps.json"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == summary(from_json(documents()["steps"]))
    assert any(line.startswith("    8000 jobs/s ") for line in lines)
    assert any(line.startswith("knee  ") for line in lines)


def test_few_jobs_and_early_ends_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    run(["report", "few.json"])
    assert "* Fewer than ten jobs" in capsys.readouterr().out
    run(["report", "nothing.json"])
    assert "ended early   the server was lost" in capsys.readouterr().out


def test_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "a.json", "b.json"]) == ExitCode.OK
    told = capsys.readouterr().out
    assert told.index("What was different:") < told.index("server.workers") < told.index("52 % lower, better")
    assert "One run of each" in told
    assert run(["report", "a.json", "steps.json"]) == ExitCode.OK
    assert "knee: – before, 6,000/s after (not measured before)" in capsys.readouterr().out
    assert run(["report", "few.json", "nothing.json"]) == ExitCode.OK


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    run(["report", "a.json", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["steps"][0]["figures"][0] == {"name": "throughput", "unit": "per second", "value": 1994.0}
    run(["report", "a.json", "b.json", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"name": "server.workers", "before": "4", "after": "8"} in told["differences"]
    by_name = {figure["name"]: figure for figure in told["steps"][0]["figures"]}
    assert by_name["p99"]["ratio"] == pytest.approx(0.476, abs=0.01)
    assert by_name["p99"]["effect"] == "better"


def test_numbers_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.json").write_text(documents()["a"].replace('"jobs_per_second": 1994.0', '"jobs_per_second": NaN'))
    assert run(["report", "odd.json", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["steps"][0]["figures"][0]["value"] is None
    assert run(["report", "odd.json", "b.json", "--json"]) == ExitCode.OK
    assert run(["report", "odd.json", "-o", "odd.html"]) == ExitCode.OK


def test_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "a.json", "-o", "a.html"]) == ExitCode.OK
    assert run(["report", "a.json", "b.json", "-o", "ab.html"]) == ExitCode.OK
    assert capsys.readouterr() == ("", "")
    assert "<h1>A mix of three, 2,000 jobs/s</h1>" in Path("a.html").read_text()
    assert "Comparison of two load tests" in Path("ab.html").read_text()
    assert run(["report", "hostile.json", "-o", "hostile.html"]) == ExitCode.OK


def test_a_terminal_is_left_in_peace(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["hostile.json"], ["a.json", "hostile.json"]):
        assert run(["report", *arguments]) == ExitCode.OK
        told = capsys.readouterr().out
        assert "?[31m?red" in told
        assert all(sign.isprintable() or sign == "\n" for sign in told)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("none.json", "none.json: No such file or directory"),
        (".", ".: Is a directory"),
        ("text.json", "text.json: no report of a load test: "),
        ("bytes.json", "bytes.json: no report of a load test: "),
        ("later.json", "later.json: a report of format 7; this arraymill reads format 1"),
        ("a.json text.json", "text.json: no report"),
        ("a.json a.json", "a.json and a.json are the same report: there is nothing to compare"),
        ("a.json copy.json", "a.json and copy.json are the same report"),
        ("a.json -o a.json", "a.json is the report itself: name another file for the page"),
        ("a.json b.json -o link.html", "link.html is the report itself"),
        ("a.json -o none/a.html", "none/a.html: No such file or directory"),
        ("a.json -o a.json/a.html", "a.json/a.html: Not a directory"),
    ],
)
def test_what_cannot_be(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.json").write_text("p99 was fine")
    Path("bytes.json").write_bytes(b"\xff\xfe\x00\x80")
    Path("later.json").write_text('{"format": 7}')
    Path("copy.json").write_bytes(Path("a.json").read_bytes())
    Path("link.html").symlink_to("b.json")
    assert run(["report", *arguments.split()]) == ExitCode.INPUT
    told = capsys.readouterr().err
    assert told.startswith(f"arraymill: {line}")
    assert told.count("\n") == 1
