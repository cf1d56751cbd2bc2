"""How workers end, and what their end says about the task that they were running."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FOREIGN_SIGNALS: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Signals that a worker gets from others only: no kernel raises them. SIGKILL may also be the kernel's answer to too
little memory, which its counter tells (`cgroup.oom_kills`)."""


class Ending(StrEnum):
    """Why a worker ended. Status and metrics count workers by these words."""

    CRASHED = "crashed"
    """A signal that native code raises, such as SIGSEGV."""
    EXITED = "exited"
    """By itself."""
    OUT_OF_MEMORY = "out of memory"
    """The kernel killed it for want of memory."""
    OVERRAN = "overran"
    """It took longer for a task than the task's limit, and was killed."""
    BROKEN = "broken"
    """It did not keep to the protocol, and was killed."""
    KILLED = "killed"
    """Somebody else killed it."""
    ORPHANED = "orphaned"
    """Its fork server ended, so it had to go as well."""
    UNREADY = "unready"
    """It was not ready in time, and was killed."""
    CANCELLED = "cancelled"
    """It was killed since it still ran a task of a job that had ended."""
    RECYCLED = "recycled"
    """It left, with a successor in its place."""
    CLOSED = "closed"
    """It was ended with the pool."""


STRIKES: Final = frozenset({Ending.CRASHED, Ending.EXITED, Ending.OUT_OF_MEMORY, Ending.OVERRAN, Ending.BROKEN})
"""Ends of which the task may be the reason."""

LOSSES: Final = STRIKES | {Ending.KILLED, Ending.ORPHANED}
"""Ends that a task does not survive for ever. The server's own doings are not among them."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended."""

    ending: Ending
    cause: str
    """Completes “the worker …”: was ended by SIGKILL, exited with code 3, ran longer than 30 s."""

    @classmethod
    def by_itself(cls, code: int | None, *, is_out_of_memory: bool) -> Death:
        """Read an exit code.

        Args:
            code: The exit code, or the negative number of the signal.
            is_out_of_memory: The kernel has killed a process for want of memory meanwhile.
        """
        if code is None or code >= 0:
            return cls(Ending.EXITED, f"exited with code {code}")
        cause = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL and is_out_of_memory:
            return cls(Ending.OUT_OF_MEMORY, f"{cause} when the kernel found no memory")
        return cls(Ending.KILLED if -code in FOREIGN_SIGNALS else Ending.CRASHED, cause)

    @property
    def is_foreign(self) -> bool:
        """True when the worker's task can hardly be the reason."""
        return self.ending not in STRIKES
