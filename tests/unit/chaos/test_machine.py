"""What a machine does not let us do is told, and is no failure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from time import time

import pytest
from chaos import machine as module
from chaos.machine import NO_COMPILER, Clock, NotHereError, odd_machine, small_machine

needs_compiler = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason=NO_COMPILER)


def hide(monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    """Let commands not be found."""
    which = shutil.which

    def seeing(name: str) -> str | None:
        return None if name in commands else which(name)

    monkeypatch.setattr(shutil, "which", seeing)


def test_without_a_compiler_and_rights_there_is_no_odd_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "cc", "gcc", "unshare")
    with pytest.raises(NotHereError, match="takes root and unshare; not tried: there is no C compiler"), odd_machine():
        pass


@needs_compiler
def test_an_odd_machine_of_which_half_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "unshare")
    with odd_machine() as machine:
        assert machine.prefix == ()
        assert list(machine.not_tried) == ["/dev/shm"]
        assert machine.clock is not None


def test_a_machine_without_control_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "_CGROUP", tmp_path / "file" / "nowhere")
    with pytest.raises(NotHereError), small_machine():
        pass


@needs_compiler
def test_a_clock_that_jumps() -> None:
    program = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    with Clock.made() as clock:
        begin, later, back = clock_reads(clock, program)
    assert abs(begin[0] - time()) < 600
    assert 3000 < later[0] - begin[0] < 4200
    assert abs(back[0] - begin[0]) < 600
    assert begin[1] <= later[1] <= back[1] < begin[1] + 600, "durations are true"


def clock_reads(clock: Clock, program: str) -> list[tuple[float, float]]:
    """Return what a process sees of time, before a jump, after it, and after the way back."""
    told: list[tuple[float, float]] = []
    command = [sys.executable, "-S", "-c", program]
    with subprocess.Popen(
        command, env=clock.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for seconds in (0.0, 3600.0, 0.0):
            clock.jump(seconds)
            child.stdin.write("\n")
            child.stdin.flush()
            wall, duration = map(float, child.stdout.readline().split())
            told.append((wall, duration))
        child.stdin.close()
    return told
