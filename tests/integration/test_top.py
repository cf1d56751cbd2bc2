"""`arraymill top` with a real server: on terminals, in pipes, and where the server goes away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from servers import RunningServer, running_server
from terminals import ENTER, screen

import arraymill as am
from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode

TOP = ("-m", "arraymill", "top", "--interval", "0.1")
SECONDS = 60


def top(server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *TOP, "--server", server, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_on_a_terminal(server: RunningServer, mill: am.Client) -> None:
    job = mill.submit(am.asarray(np.arange(1000.0)).sum(), key="seen")
    job.wait()
    with screen(*TOP, "--server", server.address) as terminal:
        terminal.wait_for("of 128 MiB used")
        terminal.wait_for("of 2 busy")
        terminal.wait_for("0/s")
        assert terminal.shown.startswith(ENTER)
        terminal.resize(40, 5)
        terminal.wait_for("workers")
        terminal.press("p")
        terminal.wait_for("arena")
        terminal.resize(100, 30)
        terminal.wait_for("paused: p goes on")
        terminal.press("p")
        terminal.wait_for("q quits, p pauses")
        terminal.press("xq")
        assert (terminal.end(), terminal.is_as_before) == (ExitCode.OK, True)


@pytest.mark.parametrize(
    ("key", "sent", "code"),
    [
        ("\x03", None, ExitCode.OK),
        ("", signal.SIGTERM, ExitCode.TERMINATED),
        ("", signal.SIGHUP, ExitCode.TERMINATED),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_the_terminal_is_given_back_whatever_ends_it(
    key: str, sent: signal.Signals | None, code: ExitCode, server: RunningServer
) -> None:
    with screen(*TOP, "--server", server.address) as terminal:
        terminal.wait_for("of 2 busy")
        if sent is None:
            terminal.press(key)
        else:
            terminal.process.send_signal(sent)
        assert (terminal.end(), terminal.is_as_before) == (code, True)


def test_a_terminal_that_is_closed_ends_it(server: RunningServer) -> None:
    with screen(*TOP, "--server", server.address) as terminal:
        terminal.wait_for("of 2 busy")
        assert terminal.hang_up() in {ExitCode.TERMINATED, ExitCode.INPUT}, "by the signal, or by what it cannot draw"


def test_the_terminal_is_given_back_while_it_is_stopped(server: RunningServer) -> None:
    with screen(*TOP, "--server", server.address) as terminal:
        terminal.wait_for("of 2 busy")
        terminal.press("\x1a")
        assert os.WIFSTOPPED(os.waitpid(terminal.process.pid, os.WUNTRACED)[1])
        terminal.wait_for("\x1b[?1049l")
        assert terminal.is_as_before
        terminal.shown = ""
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_for("of 2 busy")
        assert terminal.shown.startswith(ENTER)
        terminal.press("q")
        assert (terminal.end(), terminal.is_as_before) == (ExitCode.OK, True)


def test_a_terminal_that_knows_lines_only_gets_lines_and_no_colours_if_none_are_wanted(server: RunningServer) -> None:
    with screen(*TOP, "--server", server.address, TERM="dumb") as terminal:
        terminal.wait_for("workers 0/2")
        assert "\x1b" not in terminal.shown
        terminal.press("\x03")
        assert terminal.end() == ExitCode.INTERRUPTED
    with screen(*TOP, "--server", server.address, NO_COLOR="1") as terminal:
        terminal.wait_for("of 2 busy")
        assert not re.search(r"\x1b\[3\d(;\d+)*m", terminal.shown)
        terminal.press("q")
        terminal.end()


def test_a_server_that_is_replaced(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    options = ("--listen", address, "--shared-memory", "0")
    with ExitStack() as first, ExitStack() as later:
        first.enter_context(running_server(*options, workers=1, arena="48MiB"))
        terminal = later.enter_context(screen(*TOP, "--server", address))
        terminal.wait_for("of 1 busy")
        first.close()
        terminal.wait_for("no connection")
        with running_server(*options, workers=2, arena="48MiB"):
            terminal.wait_for("of 2 busy")
            terminal.wait_for("1 restart seen")
            terminal.press("q")
            assert (terminal.end(), terminal.is_as_before) == (ExitCode.OK, True)


def test_once(server: RunningServer) -> None:
    done = top(server.address, "--once")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].startswith(f"{server.address}  arraymill ")
    assert {"workers", "arena", "jobs", "received", "sent"} <= {line.split()[0] for line in lines if line}
    told = json.loads(top(server.address, "--once", "--json").stdout)
    assert (told["server"], told["info"]["workers"], told["trouble"]) == (server.address, 2, "")
    assert set(told["per_second"]) == {"jobs", "received", "sent", "refusals"}


def test_a_pipe_gets_a_line_each_time(server: RunningServer) -> None:
    command = [sys.executable, *TOP, "--server", server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert all("/2  arena" in line for line in islice((line for line in lines if "no answer yet" not in line), 2))
        process.terminate()
        assert process.wait(SECONDS) == ExitCode.TERMINATED


def test_no_server_is_one_line() -> None:
    done = top("127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (ExitCode.CONNECTION, "", 1)


@pytest.mark.parametrize("interval", ["0", "-1", "x", "nan", "1e9"])
def test_an_interval_that_makes_no_sense_is_one_line(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top", "--interval", interval]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--interval" in error
