"""CPU seconds and memory of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np

from suite.usage import CpuClock, cpu_seconds, memory_beside, peaks_of, pss_mib, running_seconds, tree_mib

HOLDS_64_MIB = "held = bytearray(b'x') * (64 << 20); print('ready', flush=True); input()"
BURNS = "import time\nwhile time.process_time() < 0.2: pass\nprint('ready', flush=True); input()"
NOBODY = 1 << 30


def test_of_a_process_that_is_not_there_nothing_is_known() -> None:
    assert (cpu_seconds(NOBODY), running_seconds(NOBODY), pss_mib(NOBODY), tree_mib(NOBODY)) == (0.0, 0.0, 0.0, 0.0)


def test_the_clock_counts_the_cpu_of_children_apart() -> None:
    clock = CpuClock()
    with subprocess.Popen([sys.executable, "-c", BURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used = clock.seconds()
        assert running_seconds(child.pid) > 0.15
    assert used["servers_cpu_seconds"] >= 0.15
    assert used["workers_cpu_seconds"] == 0


def test_memory_of_children_and_growth_of_the_process_itself_are_told_apart() -> None:
    sample = memory_beside(os.getpid())
    held = np.ones(8 << 20, np.uint64)
    with subprocess.Popen([sys.executable, "-c", HOLDS_64_MIB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        figures = sample()
        assert tree_mib(child.pid) >= 64
    assert figures["servers_mib"] >= 64
    assert 32 < figures["client_growth_mib"] < 4 * (held.nbytes >> 20)


def test_peaks_are_the_largest_of_all_samples() -> None:
    values, is_over = iter([1.0, 5.0, 2.0]), threading.Event()

    def sample() -> dict[str, float]:
        value = next(values, None)
        if value is None:
            is_over.set()
        return {"mib": value or 0.0}

    with peaks_of(sample) as peaks:
        assert is_over.wait(30)
    assert peaks == {"mib": 5.0}
