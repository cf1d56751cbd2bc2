"""Many jobs at once, on less memory than they have together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from load import run_load
from servers import RunningServer

LOAD = Path(__file__).parents[1] / "load.py"
PROCESSES = 4


@pytest.mark.slow
async def test_two_hundred_jobs_of_one_client(server: RunningServer) -> None:
    await run_load(server.address, seed=1, jobs=200, largest=8 << 20)


@pytest.mark.slow
def test_two_hundred_jobs_of_four_processes(server: RunningServer) -> None:
    command = [sys.executable, str(LOAD), server.address]
    processes = [
        subprocess.Popen([*command, str(seed), "50", str(4 << 20)], stdout=subprocess.PIPE, text=True)
        for seed in range(PROCESSES)
    ]
    answers = [process.communicate(timeout=150)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert answers == ["every answer is right\n"] * PROCESSES
