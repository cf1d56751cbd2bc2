"""Segments: memory shared with clients on the same machine.

Theory of operation. A segment is a file without a name (`memfd_create`) of a size that nobody can change: it is sealed
against shrinking, growing and further seals before anybody else has it, so whoever has mapped it can touch all of it
for ever (a file that shrinks kills those who read it with SIGBUS). It is handed out as a descriptor only, so nothing
can be left behind: the kernel frees its pages when the last process has closed and unmapped it, however that came. Its
pages are taken from the kernel when it is made, not when somebody first touches them, so it fails where that can be
told.

What lies in a segment is the client's affair, and may change while it is read.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Final

from arraymill_proto.memory import SEALS
from arraymill_server.arena.memory import SPAN_BYTES, Memory, base

MAX_NUMBER: Final = 1 << 20
"""Numbers of segments: each is used again when all others have been, so that an address stays below 2**61."""


class Segment:
    """Shared memory of one client.

    Args:
        number: From 1.
        fd: The sealed file; the segment owns it.
        size: Bytes, whole pages.
    """

    def __init__(self, number: int, fd: int, size: int) -> None:
        self.number: Final = number
        self.fd: Final = fd
        self.size: Final = size
        self.memory = map_segment(fd, size)
        """All bytes, writable; the mapping ends when nobody refers to it."""

    def __repr__(self) -> str:
        return f"<Segment {self.number}: {self.size:,} bytes>"

    def forget(self) -> None:
        """Refer to the bytes no more: errors hold what they happened to in circles, which may live for long."""
        del self.memory

    @property
    def address(self) -> int:
        """Of the first byte."""
        return base(self.number)


class Segments:
    """All segments of a server. Everything here belongs to the event loop's thread but `create`.

    Args:
        space: Where tasks may name them.
    """

    def __init__(self, space: Memory) -> None:
        self.space: Final = space
        self._all: dict[int, Segment] = {}
        self._last = 0
        self.on_add: Callable[[Segment], None] = _ignore
        """Called when there is a new one: workers must map it."""
        self.on_remove: Callable[[Segment], None] = _ignore
        """Called when one is no more."""

    def __repr__(self) -> str:
        return f"<Segments: {len(self._all)} of {self.nbytes:,} bytes>"

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(segment.size for segment in self)

    def add(self, fd: int, size: int) -> Segment:
        """Take in a file that `create` has made.

        Raises:
            OSError: It cannot be mapped; it is closed.
        """
        number = self._next_number()
        try:
            segment = Segment(number, fd, size)
        except OSError:
            os.close(fd)
            raise
        self._all[segment.number] = segment
        self.space.add(segment.number, segment.memory)
        self.on_add(segment)
        return segment

    def _next_number(self) -> int:
        while True:
            self._last = self._last % MAX_NUMBER + 1
            if self._last not in self._all:
                return self._last

    def remove(self, segment: Segment) -> None:
        """Let go of a segment that no task names any more, and of its file."""
        del self._all[segment.number]
        self.space.remove(segment.number)
        self.on_remove(segment)
        os.close(segment.fd)


def create(size: int) -> int:
    """Make the file of a segment: every page there, zeroed and sealed. Takes some 0.3 ms per MiB; fit for a thread.

    Args:
        size: Bytes, whole pages, at most SPAN_BYTES.

    Returns:
        Its descriptor.

    Raises:
        OSError: The kernel has no memory or no descriptor for it.
    """
    if not 0 < size <= SPAN_BYTES or size % mmap.PAGESIZE:
        raise OSError(errno.EINVAL, f"a segment of {size:,} bytes")
    fd = os.memfd_create("arraymill", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(fd, 0, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_segment(fd: int, size: int) -> mmap.mmap:
    """Return all bytes of a segment, shared and writable; the descriptor stays the caller's."""
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def _ignore(_: Segment) -> None:
    """Nobody needs to know."""
