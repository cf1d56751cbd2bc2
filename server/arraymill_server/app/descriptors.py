"""How many files and connections the server may have open."""

from __future__ import annotations

import resource
from typing import Final

DESCRIPTORS: Final = 65_536
"""Enough for some bulk connections of each of all calls that may be open, and for clients that only wait. The usual
1,024 are a relic: programs that use select(), as this one does not, can have no more."""


def allow_descriptors() -> int:
    """Raise this process' limit of open descriptors as far as is useful and allowed; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        return soft
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
