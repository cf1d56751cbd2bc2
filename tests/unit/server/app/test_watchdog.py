"""The end that comes whatever hangs: in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from time import monotonic

import pytest

from arraymill_server.app.exit_codes import ExitCode
from arraymill_server.app.watchdog import Watchdog

HANGS = {
    "waits": ("threading.Event().wait()", ExitCode.STUCK),
    "runs": ("while True: pass", ExitCode.STUCK),
    "holds the interpreter": ("ctypes.PyDLL(None).pause()", -signal.SIGALRM),
}

PROGRAM = """
import ctypes, threading
from arraymill_server.app.watchdog import Watchdog
watchdog = Watchdog()
watchdog.arm(3600)
watchdog.arm(0.6)
watchdog.arm(3600)
{hang}
"""


@pytest.mark.parametrize("hang", HANGS)
def test_whatever_hangs_ends(hang: str) -> None:
    work, code = HANGS[hang]
    command = [sys.executable, "-c", PROGRAM.format(hang=work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    if code is ExitCode.STUCK:
        assert "arraymill: the end hangs" in done.stderr
        assert 'File "<string>"' in done.stderr


def test_a_full_pipe_stops_nobody() -> None:
    fill = "import os, fcntl; fcntl.fcntl(2, 1031, 4096); os.write(2, bytes(4096)); " + HANGS["waits"][0]
    command = [sys.executable, "-c", PROGRAM.format(hang=fill)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == -signal.SIGALRM


def test_one_that_is_closed_does_nothing() -> None:
    watchdog = Watchdog()
    assert repr(watchdog) == "<Watchdog: sleeps>"
    before = signal.getitimer(signal.ITIMER_REAL)
    try:
        watchdog.arm(3600)
        assert repr(watchdog).startswith("<Watchdog: ends the process in 3")
    finally:
        begin = monotonic()
        watchdog.close()
        signal.setitimer(signal.ITIMER_REAL, *before)
    assert monotonic() - begin < 30
