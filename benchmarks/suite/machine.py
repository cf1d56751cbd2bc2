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

BUSY: Final = 2
"""Load for each core; the row before leaves about one."""


def facts() -> dict[str, Any]:
    """Return what a reader must know of this machine."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def warning(facts: dict[str, Any]) -> str:
    """Return a word of warning where the machine was busy with other work when a row began."""
    is_busy = facts["load"] > BUSY * facts["cores"]
    return f"rough: load {facts['load']:.0f} on {facts['cores']} cores" if is_busy else ""


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
