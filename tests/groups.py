"""Control groups of version 1, for tests of what the kernel does to processes: root may make them."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

CGROUP = Path("/sys/fs/cgroup")


class ControlGroup:
    """A group of one controller."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        """Move a process into the group."""
        self.write("cgroup.procs", str(pid))

    def write(self, file: str, text: str) -> None:
        (self.path / file).write_text(text)

    def read(self, file: str) -> str:
        return (self.path / file).read_text()


@contextmanager
def control_group(controller: str, name: str) -> Generator[ControlGroup, None, None]:
    """Make a group and remove it when its processes have ended; skips the test where there can be none."""
    path = CGROUP / controller / name
    if not (CGROUP / controller / "cgroup.procs").exists():
        pytest.skip(f"there are no control groups of version 1 with the controller {controller}")
    try:
        path.mkdir()
    except OSError as exc:
        pytest.skip(f"no control group can be made here: {exc}")
    group = ControlGroup(path)
    try:
        yield group
    finally:
        while group.read("cgroup.procs"):
            time.sleep(0.01)
        path.rmdir()
