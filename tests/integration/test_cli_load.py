"""`arraymill load` against a real server: reports, conditions, bad input, and a server that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from servers import RunningServer, running_server

from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode
from arraymill.load import _run
from arraymill.load._fleet import Fleet
from arraymill.load._gather import Seen
from arraymill.load._report import Report, read_report
from arraymill.load._view import QuietView

MIX = (
    "sum:8KiB*2, sqrt:64KiB:inline, sum:2MiB:memory, mean:9MiB:bulk, sqrt:200KiB:grpc:float32, (a*b).sum(axis=0):30x40"
)
QUICK = ("--warm-up", "0", "-q")


def load(*arguments: str) -> int:
    return run(["load", *arguments, *QUICK])


def reported(path: Path, *arguments: str) -> Report:
    """Run a load test that must end well."""
    assert load(*arguments, "-o", str(path)) == ExitCode.OK
    return read_report(path)


@pytest.mark.usefixtures("mill")
def test_a_mix_goes_by_all_transports_and_every_answer_is_right(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    page = tmp_path / "report.html"
    arguments = ("--count", "60", "--check", "1", "--clients", "4", "--processes", "2", "--html", str(page))
    told = reported(path, "--mix", MIX, *arguments)
    (step,) = told.steps
    assert (step.jobs, step.checked, step.wrong, step.errors) == (60, 60, 0, {})
    assert step.latency is not None
    assert step.latency.count == 60
    assert {"computed", "elsewhere"} <= step.phases.keys()
    assert sum(part.jobs for part in step.parts) == 60
    assert step.generator.processes == 2
    assert step.bytes == sum(part.bytes for part in step.parts) > 0
    assert "<html" in page.read_text()[:200].lower()


@pytest.mark.usefixtures("mill")
def test_rates_are_held_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--mix", "sum:800", "--step-rate", "20:40:20", "--duration", "0.5s", "--arrival", "poisson")
    code = load(*arguments, "--fail-if", "error-rate>50%", "-o", str(tmp_path / "a.json"))
    told = read_report(tmp_path / "a.json")
    # A machine that is busy with other things may not let the generator send: then the run says so and ends.
    assert code == (ExitCode.FAILED if told.ended else ExitCode.OK)
    assert [step.rate for step in told.steps] == [20.0, 40.0][: len(told.steps)]
    assert len(told.steps) == 2 or told.ended == "the generator could not hold the rate"
    assert "knee" in capsys.readouterr().out
    assert [verdict.is_met for verdict in told.verdicts] == [False]


@pytest.mark.usefixtures("mill")
def test_a_condition_that_holds_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    arguments = ("--mix", "sum:800", "--count", "10", "--fail-if", "max>0us", "--fail-if", "errors>0", "-o", str(path))
    assert load(*arguments) == ExitCode.CONDITION
    assert capsys.readouterr().err == "arraymill: failed, as max>0us\n"
    assert [verdict.is_met for verdict in read_report(path).verdicts] == [True, False]


@pytest.mark.usefixtures("mill")
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ((), ExitCode.USAGE, "nothing says what to send"),
        (("--mix", "smu:1KiB"), ExitCode.USAGE, "there is no operation 'smu': did you mean sum"),
        (("--mix", "sum:1KiB", "--rate", "fast"), ExitCode.USAGE, "rate: 'fast' is no rate"),
        (("--mix", "sum", "--fail-if", "p99>50"), ExitCode.USAGE, "needs a number and its unit"),
        (("--mix", "sum", "-o", "/nowhere/a.json"), ExitCode.INPUT, "/nowhere/a.json: No such file or directory"),
        (("--mix", "sum", "-o", "-"), ExitCode.USAGE, "name a file"),
        (("--mix", "sum", "-o", ""), ExitCode.USAGE, "name a file"),
        (("--mix", "sum", "-o", "/tmp/a", "--html", "/tmp/../tmp/a"), ExitCode.USAGE, "name the same file"),
        (("--mix", "sum", "--html", "/nowhere/a.html"), ExitCode.INPUT, "/nowhere/a.html: No such file"),
        (("--mix", "sum", "--plan", "no.toml"), ExitCode.INPUT, "no.toml: No such file or directory"),
        (("--mix", "sum", "--server", "127.0.0.1:9"), ExitCode.CONNECTION, "nothing listens there"),
        (("--mix", "sum", "--server", "http://x"), ExitCode.INPUT, "is a URL or a path"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], code: ExitCode, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load(*arguments) == code
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("mill")
def test_a_key_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text('mix = "sum"\ncleints = 3\n')
    assert load("--plan", str(tmp_path / "a.toml")) == ExitCode.INPUT
    assert "there is no key 'cleints': did you mean clients?" in capsys.readouterr().err


@pytest.mark.usefixtures("mill")
def test_a_rate_that_cannot_be_held_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    arguments = ("--mix", "sum:800", "--rate", "100000", "--duration", "0.1s", "--timeout", "1", "--processes", "1")
    assert load(*arguments, "-o", str(path)) == ExitCode.FAILED
    assert "the generator could not hold the rate" in capsys.readouterr().err
    assert read_report(path).steps[0].generator.is_limit


def test_a_lane_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server("--bulk-port", "off", "--shared-memory", "0", workers=1, arena="48MiB") as server:
        for mix, line in (("sum:8MiB:bulk", "offers no bulk lane"), ("sum:1MiB:memory", "shares no memory")):
            assert load("--server", server.address, "--mix", mix) == ExitCode.CONNECTION
            assert line in capsys.readouterr().err


def test_a_server_that_dies_is_counted_and_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_run, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(_run, "LOOK_SECONDS", 0.2)
    path = tmp_path / "a.json"
    with running_server(workers=1, arena="48MiB") as server:

        def kill(view: object, seen: Seen, told: object) -> None:
            if seen.jobs:  # some have ended well
                os.kill(server.pid, signal.SIGKILL)

        monkeypatch.setattr(QuietView, "show", kill)
        arguments = ("--mix", "sum:800", "--rate", "50", "--duration", "60s", "--clients", "2", "-o", str(path))
        assert load("--server", server.address, *arguments) == ExitCode.CONNECTION
    assert "the server has not answered" in capsys.readouterr().err
    told = read_report(path)
    assert told.ended
    assert told.steps[0].seconds < 60.0
    assert told.steps[0].errors.get("ConnectionFailedError", 0) > 0


def test_a_server_that_is_dead_at_the_end_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_run, "LOOK_SECONDS", 0.2)
    path = tmp_path / "a.json"
    with running_server(workers=1, arena="48MiB") as server:

        def kill(view: object, seen: Seen, told: object) -> None:
            os.kill(server.pid, signal.SIGKILL)

        monkeypatch.setattr(QuietView, "show", kill)
        arguments = ("--mix", "sum:800", "--duration", "1s", "--clients", "2", "-o", str(path))
        assert load("--server", server.address, *arguments) == ExitCode.CONNECTION
    line = "the server did not answer when the run was over"
    assert capsys.readouterr().err == f"arraymill: {line}\n"
    assert read_report(path).ended == line


@pytest.mark.usefixtures("mill")
def test_ctrl_c_at_the_very_end_loses_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, close = tmp_path / "a.json", Fleet.close

    async def interrupted(self: Fleet) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await close(self)

    monkeypatch.setattr(Fleet, "close", interrupted)
    assert load("--mix", "sum:800", "--count", "20", "-o", str(path)) == ExitCode.INTERRUPTED
    assert read_report(path).steps[0].jobs == 20


@pytest.mark.usefixtures("mill")
def test_a_file_is_wrong_input_and_an_option_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "a.toml"
    for text, arguments, code in (
        ('mix = "sum"\nclients = 0\n', ("--rate", "5"), ExitCode.INPUT),
        ('mix = "smu"\n', ("--rate", "5"), ExitCode.INPUT),
        ('mix = "sum"\nrate = 5\n', ("--clients", "0"), ExitCode.USAGE),
        ('mix = "sum"\nrate = 5\n', ("--mix", "smu"), ExitCode.USAGE),
        ('mix = "sum"\nrate = 5\n', ("--in-flight", "2"), ExitCode.USAGE),
    ):
        plan.write_text(text)
        assert load("--plan", str(plan), *arguments) == code
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("mill")
def test_a_generator_that_dies_leaves_a_report_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_run, "LOOK_SECONDS", 0.2)
    path, processes, start = tmp_path / "a.json", list[Process](), asyncio.create_subprocess_exec

    async def recorded(*arguments: Any, **named: Any) -> Process:
        processes.append(await start(*arguments, **named))
        return processes[-1]

    def kill(view: object, seen: Seen, told: object) -> None:
        if seen.jobs and processes[0].returncode is None:
            processes[0].kill()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", recorded)
    monkeypatch.setattr(QuietView, "show", kill)
    arguments = ("--mix", "sum:800", "--duration", "60s", "--clients", "2", "--processes", "2", "-o", str(path))
    assert load(*arguments) == ExitCode.FAILED
    assert capsys.readouterr().err == "arraymill: a generator process has ended\n"
    told = read_report(path)
    assert told.ended == "a generator process has ended"
    assert (len(told.steps), told.steps[0].generator.processes) == (1, 1)
    assert told.steps[0].jobs > 0
    assert told.steps[0].seconds < 60.0


def test_ctrl_c_ends_it_with_the_report_of_what_was_measured(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    words = ["load", "--server", server.address, "--mix", "sum:800", "--duration", "60s", "--warm-up", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "arraymill", *words, "--clients", "1", "-o", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while " 0 jobs" in (line := process.stderr.readline()):  # the lines of the view
            pass
        assert "jobs" in line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert err.splitlines()[-1] == "arraymill: interrupted"
    assert "ended early" in out
    told = read_report(path)
    assert told.ended.startswith("interrupted")
    assert told.steps[0].jobs > 0
    assert told.steps[0].seconds < 60.0
