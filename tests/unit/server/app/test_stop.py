"""When a server stops: signals, whatever the loop does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from arraymill_server.app.exit_codes import ExitCode

PROGRAM = """
import asyncio, os, signal, sys, time
import uvloop
from arraymill_server.app import stop
stop.END_SECONDS = 0.6

async def main():
    handler = signal.getsignal(signal.SIGTERM)
    watch = stop.Stop({drain}, watch_stdin={stdin})
    print("ready", flush=True)
    {work}
    print(watch, watch.hurry.is_set(), watch.is_defect, flush=True)
    watch.close()
    assert signal.getsignal(signal.SIGTERM) == handler

uvloop.run(main())
"""


def run(work: str, *, drain: float = 3600.0, stdin: bool = False, signals: int = 0) -> tuple[int, str]:
    command = [sys.executable, "-c", PROGRAM.format(work=work, drain=drain, stdin=stdin)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
        assert process.stdin is not None
        process.stdin.close()
        told = process.stdout.read()
        return process.wait(30), told.strip()


def test_a_signal_asks() -> None:
    assert run("await watch.asked.wait()", signals=1) == (0, "<Stop: asked SIGTERM> False False")


def test_a_second_one_hurries() -> None:
    work = "await watch.asked.wait(); os.kill(os.getpid(), signal.SIGINT); await watch.hurry.wait()"
    assert run(work, signals=1) == (0, "<Stop: hurry SIGTERM> True False")


def test_the_end_of_the_parent_hurries() -> None:
    assert run("await watch.hurry.wait()", stdin=True) == (0, "<Stop: hurry parent ended> True False")


def test_a_defect_asks() -> None:
    assert run("watch.defect()") == (0, "<Stop: asked defect> False True")


@pytest.mark.parametrize("work", ["while True: time.sleep(60)", "while True: pass", "await asyncio.sleep(3600)"])
def test_an_end_that_hangs_is_cut_off(work: str) -> None:
    assert run(work, drain=0.0, signals=1) == (ExitCode.STUCK, "")


def test_a_second_signal_leaves_an_end_that_hangs_less_time() -> None:
    work = "await watch.asked.wait(); os.kill(os.getpid(), signal.SIGTERM); await asyncio.sleep(3600)"
    assert run(work, signals=1) == (ExitCode.STUCK, "")
