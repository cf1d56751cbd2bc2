"""Who descends from whom: so that whatever a contestant starts, it also ends."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

PATIENCE_SECONDS: Final = 3.0
"""Between SIGTERM and SIGKILL of what a contestant has left."""

STEP_SECONDS: Final = 0.02


def adopt_orphans(is_wanted: bool = True) -> None:
    """Become the parent of all descendants whose own parent ends: none can get away. Or no longer."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(is_wanted))


def die_with_parent() -> None:
    """Get SIGTERM when the parent ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def be_first_to_go() -> None:
    """Let the kernel end this process, and what it starts, before others where memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def children(pid: int) -> set[int]:
    """Return the children of a process, zombies as well."""
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found |= {int(child) for child in (thread / "children").read_text().split()}
    return found


def descendants(pid: int) -> Iterator[int]:
    """Yield all that descend from a process, parents first."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def end_orphans(known: set[int]) -> None:
    """End whatever this process has adopted, and what descends from that.

    Args:
        known: Children that live on.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    told: set[int] = set()
    while strangers := _reaped(children(os.getpid()) - known):
        is_over = time.monotonic() > deadline
        for stranger in {each for one in strangers for each in (one, *descendants(one))} - (set() if is_over else told):
            told.add(stranger)
            with suppress(ProcessLookupError):
                os.kill(stranger, signal.SIGKILL if is_over else signal.SIGTERM)
        time.sleep(STEP_SECONDS)


def _reaped(pids: set[int]) -> set[int]:
    """Take leave of those that have ended; return the others."""
    left: set[int] = set()
    for pid in pids:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                left.add(pid)
    return left


def remove_shared_files(pids: set[int], since: float) -> None:
    """Remove files of shared memory that bear the number of a process that has ended, as those of killed servers do.

    Args:
        pids: The processes.
        since: Seconds of the epoch; older files are somebody else's.
    """
    for path in Path("/dev/shm").iterdir():
        with suppress(FileNotFoundError, PermissionError):
            if pids & set(map(int, re.findall(r"\d+", path.name))) and path.is_file() and path.stat().st_ctime >= since:
                path.unlink()
