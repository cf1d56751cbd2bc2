"""Whom the kernel takes when memory runs out: a worker, which costs a block, and never the server.

The kernel takes the process of the highest badness: its resident memory in thousandths of all that its control group,
or the machine, has, plus its `oom_score_adj`. The arena counts as resident memory of everybody who has touched it, and
the server has written all of it, while a worker that has just started has touched nothing. So a worker's score must
exceed the server's own by the arena's share, and by SERVER_SHARE for what else the server holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SERVER_SHARE: Final = 500
"""Thousandths of all memory that the server may hold beside the arena before the kernel would prefer it to a worker
that holds nothing. Workers that are taken are mostly those that hold much."""

MAX_SCORE: Final = 1000
"""The kernel's bound: as bad as a process that holds all memory."""

SELF: Final = Path("/proc/self/oom_score_adj")


def oom_score(arena_bytes: int, memory_bytes: int, *, own: Path = SELF) -> int:
    """Return the `oom_score_adj` of workers.

    Args:
        arena_bytes: Size of the arena.
        memory_bytes: Memory that the server and its workers may use together.
        own: Where the server's own score stands.
    """
    try:
        base = int(own.read_text())
    except OSError:  # /proc may be read-only, or another system's
        base = 0
    return min(MAX_SCORE, base + SERVER_SHARE + MAX_SCORE * arena_bytes // memory_bytes)
