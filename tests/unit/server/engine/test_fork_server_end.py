"""The fork server outlives a killed server by a moment, and removes what that one cannot."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

SERVER = """
import os, sys
from arraymill_server.engine.processes import fork_server, spawn

fork_server.hold()
process = spawn("test", print)
process.join()
process.close()
print("ready", flush=True)
sys.stdin.readline()
"""
GRACE_SECONDS = 20


def test_a_killed_server_leaves_no_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER]
    environment = {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(2)]
        assert "ready\n" in lines
        assert [path.name.startswith("pymp-") for path in tmp_path.iterdir()] == [True]
        server.kill()
    assert server.returncode == -signal.SIGKILL
    end = time.monotonic() + GRACE_SECONDS
    while left := list(tmp_path.iterdir()):
        assert time.monotonic() < end, left
        time.sleep(0.01)
