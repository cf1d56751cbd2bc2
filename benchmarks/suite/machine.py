"""Where figures come from."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

BUSY: Final = 0.15
"""Part of the cores that others may use before figures are called rough."""


def facts() -> dict[str, Any]:
    """Return what a reader must know of this machine."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


class Onlooker:
    """Sees how much of the machine others use from its making on: all that is busy, without this process and its."""

    def __init__(self) -> None:
        self._begin = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return own.elapsed, busy - own.user - own.system - own.children_user - own.children_system

    def others_cores(self) -> float:
        """Return how many cores others kept busy on average; own children count as others until they have ended."""
        (begin, before), (end, after) = self._begin, self._now()
        return round(max(0.0, (after - before) / (end - begin)), 2) if end > begin else 0.0


def warning(facts: dict[str, Any]) -> str:
    """Return a word of warning where the machine did other work meanwhile."""
    is_busy = facts["others_cores"] > BUSY * facts["cores"]
    return f"rough: other work took {facts['others_cores']:.1f} of {facts['cores']} cores" if is_busy else ""


def available_bytes() -> int:
    """Return the memory that new processes can have without swapping; 0: the kernel does not say."""
    words = _field("/proc/meminfo", "MemAvailable").split()
    return int(words[0]) << 10 if words else 0


def _field(path: str, name: str) -> str:
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of what is installed here."""
    found: dict[str, str] = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
