"""Keeping the memory of frames warm.

A frame lives twice, as Python's bytes and as gRPC's copy, and is freed before the next one is made. By default glibc
gives so much free memory back to the system at once, so that every frame is built in pages that have to be mapped and
zeroed anew: 460,000 page faults and 1.0 s of processor time for each GB sent (measured), twice the rest.

glibc learns: when a block that had a mapping of its own is freed, blocks up to that size come from the heap from then
on, and up to twice as much of its free end is kept. Any program that has freed an array of some MB has taught it; we
make sure. Rejected: mallopt, which is the program's to call, and which ends the learning. Other C libraries lose
nothing.
"""

from __future__ import annotations

from typing import Final

LESSON_BYTES: Final = 8 << 20
"""Twice this may stay with the process: the frames of a stream in both directions need 4 MiB."""

_has_learned = False


def keep_frames_warm() -> None:
    """Teach the allocator, once in a process. The block is mapped but never touched: it costs microseconds."""
    global _has_learned  # noqa: PLW0603  # a fact of the process
    if not _has_learned:
        _has_learned = True
        bytes(LESSON_BYTES)
