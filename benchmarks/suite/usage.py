"""What processes use: CPU seconds and memory, of the client, of its servers and of their workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from suite.descent import children, descendants
from suite.task import Figures

SAMPLE_SECONDS: Final = 0.05

TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return what a process has used, with its threads that have ended; 0 where there is none. Steps of 10 ms."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def running_seconds(pid: int) -> float:
    """Return what the threads have used that a process now has: exact, for processes that do next to nothing."""
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds += int(path.read_text().split()[0])
    return nanoseconds / 1e9


class CpuClock:
    """CPU seconds since it was made, of this process, of its children (servers) and of theirs (workers)."""

    def __init__(self) -> None:
        self._begin = self._now()

    @staticmethod
    def _now() -> dict[str, dict[int, float]]:
        servers = children(os.getpid())
        workers = {each for server in servers for each in descendants(server)}
        groups = {"client": {os.getpid()}, "servers": servers, "workers": workers}
        return {name: {pid: cpu_seconds(pid) for pid in pids} for name, pids in groups.items()}

    def seconds(self) -> Figures:
        """Return client_cpu_seconds, servers_cpu_seconds and workers_cpu_seconds."""
        now = self._now()
        return {
            f"{name}_cpu_seconds": sum(seconds - self._begin[name].get(pid, 0.0) for pid, seconds in pids.items())
            for name, pids in now.items()
        }


def pss_mib(pid: int) -> float:
    """Return the proportional set size of one process: memory that several map counts once in all."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024
    return 0.0


def tree_mib(pid: int) -> float:
    """Return the proportional set size of a process and of all that descend from it."""
    return sum(map(pss_mib, [pid, *descendants(pid)]))


def memory_beside(pid: int) -> Callable[[], Figures]:
    """Return what samples the memory of a process and of its descendants, in MiB.

    `client_growth_mib` is what the process itself has beyond what it had at first, `servers_mib` what all others have.
    """
    had = pss_mib(pid)
    return lambda: {
        "client_growth_mib": max(0.0, pss_mib(pid) - had),
        "servers_mib": sum(map(pss_mib, descendants(pid))),
    }


@contextmanager
def peaks_of(sample: Callable[[], Figures]) -> Iterator[Figures]:
    """Take samples until it is over; yield what holds the largest of each figure."""
    peaks, stop = sample(), threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            for name, value in sample().items():
                peaks[name] = max(peaks[name], value)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()
