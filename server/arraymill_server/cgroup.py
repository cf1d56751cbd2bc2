"""What this process may use of the machine: CPUs and memory, by control group before the machine's totals.

Theory of operation. Control groups form a tree and every group above ours may hold the lower limit, so each limit is
the least of our group and all its ancestors. The two versions differ in where the tree hangs and in file names:

=========  =========================================  ==================================  ======================
version    line of /proc/self/cgroup                  directory                           files
=========  =========================================  ==================================  ======================
v2         ``0::/group``                              /sys/fs/cgroup/group                cpu.max, memory.max
v1         ``4:memory:/group``, ``1:cpu,cpuacct:/…``  /sys/fs/cgroup/memory/group, …      cpu.cfs_quota_us and
                                                                                          _period_us,
                                                                                          memory.limit_in_bytes
=========  =========================================  ==================================  ======================

A container of v1 reads the host's group in /proc but sees its own group mounted at the controller's top; a container of
v2 mostly sees ``0::/``. Walking up to the top and skipping what does not exist is right for all of them. A hybrid
machine has both; the lower limit counts. CPU sets need no files: the kernel keeps the affinity of a process inside its
CPU set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
SHM = Path("/dev/shm")

_OOM_FILES = ("memory.events", "memory.oom_control")
"""Where a group of version 2 and 1 counts its processes that were killed for want of memory."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The limits of this process."""

    cpus: float
    """CPUs that may be used at once; a quota may be a fraction."""
    memory_bytes: int
    """Bytes of memory that may be used, shared memory included."""
    shm_free_bytes: int
    """Bytes free in the shared-memory file system."""

    @property
    def workers(self) -> int:
        """How many workers use these CPUs well: whole CPUs, at least 1.

        Rounded down: with 2 workers on a quota of 1.5 the kernel stops the whole group, event loop included, for a part
        of every period.
        """
        return max(1, int(self.cpus))

    @classmethod
    def detect(cls, *, proc: Path = PROC, cgroup: Path = CGROUP, shm: Path = SHM, affinity: int | None = None) -> Self:
        """Read the limits.

        Args:
            proc: Where /proc is mounted.
            cgroup: Where control groups are mounted.
            shm: The shared-memory file system.
            affinity: CPUs that the process may run on; None asks the kernel.
        """
        allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
        groups = list(_groups(proc / "self" / "cgroup", cgroup))
        cpus = _least(groups, _quota_v1, _quota_v2)
        memory = _least(groups, _memory_v1, _memory_v2)
        return cls(
            cpus=min(allowed, cpus) if cpus else allowed,
            memory_bytes=min(_total_memory(proc), int(memory)) if memory else _total_memory(proc),
            shm_free_bytes=free_bytes(shm) if shm.exists() else 0,
        )


def oom_kills(*, proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Return how many processes the kernel has killed for want of memory, in our control group if it tells.

    Else on the machine; 0 where nobody tells. A difference between two calls is what counts. The first call looks for
    the file that tells (0.4 ms), the others read it (25 to 40 µs).
    """
    file = _oom_file(proc, cgroup)
    return _oom_kills_in(file) or 0 if file else 0


@cache
def _oom_file(proc: Path, cgroup: Path) -> Path | None:
    files = [group / name for group in _groups(proc / "self" / "cgroup", cgroup) for name in _OOM_FILES]
    return next((file for file in (*files, proc / "vmstat") if _oom_kills_in(file) is not None), None)


def _oom_kills_in(file: Path) -> int | None:
    for line in _lines(file):
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None


def free_bytes(directory: Path) -> int:
    """Return the bytes that this process may still write to the file system of a directory."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def _groups(membership: Path, top: Path) -> Iterator[Path]:
    """Yield the directory of every control group that holds this process, from the leaves to the tops."""
    for line in _lines(membership):
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        names = {controllers, *controllers.split(",")} if controllers else {"", "unified"}
        path = Path(group.lstrip("/"))
        for name in sorted(names):
            for part in (path, *path.parents):
                yield top / name / part


def _least(groups: list[Path], *readers: Callable[[Path], float | None]) -> float | None:
    """Return the lowest limit that any group sets, None when none does."""
    found = (reader(group) for group in groups for reader in readers)
    return min((limit for limit in found if limit is not None and limit > 0), default=None)


def _quota_v2(group: Path) -> float | None:
    quota, _, period = " ".join(_lines(group / "cpu.max")).partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _quota_v1(group: Path) -> float | None:
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _memory_v2(group: Path) -> float | None:
    return _number(group / "memory.max")


def _memory_v1(group: Path) -> float | None:
    return _number(group / "memory.limit_in_bytes")


def _total_memory(proc: Path) -> int:
    for line in _lines(proc / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _number(file: Path) -> int | None:
    """Return the number in a file; None when there is no such file or it holds a word ("max") or a negative number."""
    text = " ".join(_lines(file))
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
