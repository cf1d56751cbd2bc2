"""How the C library treats memory that gRPC frees, and Python.

Each frame makes gRPC allocate and free buffers of 1 MiB. By default glibc gives such memory back to the kernel at once
and takes it anew for the next frame, page by page: 600 page faults for each MiB received, which cost 0.4 s of system
time per 256 MiB and more than everything else together. Told to keep what is freed, it takes 0.06 s.

What is kept lies between what is used, and the more so the longer a server runs: in half an hour of mixed load its
memory grew by 15 MiB, none of which anybody used. So all of it is given back now and then.
"""

from __future__ import annotations

import ctypes
from typing import Final

# From glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

KEEP_BYTES: Final = 32 << 20
"""Freed memory at the end of a heap that is kept: some frames of each of a few streams."""

MAP_BYTES: Final = 8 << 20
"""Smallest allocation that gets a mapping of its own: above the largest message."""

PAD_BYTES: Final = 4 << 20
"""By how much a heap grows at once."""

HEAPS: Final = 1
"""How many heaps the threads share, each of which keeps its freed memory. By default there are eight for each core: a
server grew by some 15 MiB whenever gRPC started one more thread, for hours. With two, the second kept 27 MiB of which 1
was used, and 20 MiB came on top in half an hour of mixed load; frames took as long."""


GIVE_BACK_SECONDS: Final = 15.0
"""How often. It takes 2 to 20 ms, in which other threads may wait for memory, and to take it again as long: a
thousandth of the time. Of a server under mixed load 21 MiB are in use all the time; what lies between them grows with
every peak of the load, and with this is given back before the next."""


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory; False where it is not glibc and has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_ARENA_MAX, HEAPS),
        (_M_TRIM_THRESHOLD, KEEP_BYTES),
        (_M_MMAP_THRESHOLD, MAP_BYTES),
        (_M_TOP_PAD, PAD_BYTES),
    )
    done = [mallopt(option, nbytes) == 1 for option, nbytes in settings]
    return all(done)


def give_back_freed_memory() -> bool:
    """Give all whole pages that are free back to the kernel; False where the C library cannot. Fit for a thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and trim(0) == 1
