"""What a process holds open."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import psutil


def sockets(pid: int | None = None) -> int:
    """Count the sockets of a process, by default of this one."""
    count = 0
    for path in Path(f"/proc/{pid or 'self'}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, as the folder itself is
            count += str(path.readlink()).startswith("socket:")
    return count


def held() -> int:
    """Count the descriptors that this process holds, without what earlier tests have left to the garbage collector."""
    gc.collect()
    return psutil.Process().num_fds()
