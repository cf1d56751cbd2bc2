"""The arena: one shared-memory Array buffer, made once, cut into leased extents.

Theory of operation.

Making. The arena is a `multiprocess.RawArray` of bytes: an unlinked file on /dev/shm, mapped here and inherited by
every worker. RawArray writes zeros over the whole mapping when it is given a length (`sharedctypes.RawArray` of
multiprocess 0.70.19 calls `ctypes.memset` on it), so every page exists from the start: no later write can meet a full
file system (SIGBUS) and none pays for a page fault. RawArray falls back to a directory on disk when /dev/shm is too
small; the checks of `shm` before and after refuse to start instead.

Leasing. One lease is one contiguous extent with one owner; it ends by `release`, never by a finaliser. Workspaces of
jobs come from the low end, resident arrays from the high end (`top=True`). Resident leases stay for hours, all others
end when their job does; `fits_when_idle` answers whether a job can ever run beside the residents.

Why nothing is scrubbed. Memory is not zeroed between owners. It would cost 3 to 10 % of a transfer and is not needed,
because no byte of an earlier owner can be read: the planner only reads regions that the same job has written in full
(input ranges are counted byte by byte, results and partials are stored whole by a task that answered), gaps between
regions are never sent, and a resident array is committed only when all of its bytes were written.

Everything here belongs to the event loop's thread; nothing is locked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, Self, cast

import multiprocess
from numpy.typing import DTypeLike, NDArray

from arraymill_server.arena.attach import RawBytes, attach, view
from arraymill_server.arena.extents import ALIGNMENT, Extent, Extents
from arraymill_server.arena.memory import Memory
from arraymill_server.arena.shm import SharedMemory
from arraymill_server.quantities import format_bytes


def _shared_bytes(size: int) -> RawBytes:
    make: Any = vars(multiprocess)["get_context"]  # a name that multiprocess makes at run time
    return cast(RawBytes, make("forkserver").RawArray(ctypes.c_ubyte, size))


class LeaseError(RuntimeError):
    """A lease was used after its release: a bug of its owner, never the user's fault."""


class Lease:
    """One extent of the arena and its owner. A context manager that releases at the end."""

    __slots__ = ("_arena", "generation", "is_live", "is_resident", "offset", "owner", "size")

    def __init__(self, arena: Arena, extent: Extent, owner: str, generation: int, is_resident: bool) -> None:
        self._arena = arena
        self.owner: Final = owner
        """Who holds it, for messages and reprs: a job or an array."""
        self.offset: Final = extent.offset
        """Bytes from the start of the arena."""
        self.size: Final = extent.size
        """Bytes: what was asked for, rounded up to whole pages. All of them may be used."""
        self.generation: Final = generation
        """Unique among all leases of the arena: a message that bears another one is stale."""
        self.is_resident: Final = is_resident
        """True for long-lived memory at the high end."""
        self.is_live = True
        """False after `release`."""

    def __repr__(self) -> str:
        state = "" if self.is_live else ", released"
        return f"<Lease {self.generation} of {self.owner}: {self.size:,} bytes at {self.offset:,}{state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def end(self) -> int:
        """Offset of the first byte behind the extent."""
        return self.offset + self.size

    @property
    def memory(self) -> memoryview:
        """The bytes of the extent, writable.

        Raises:
            LeaseError: The lease was released.
        """
        self._check_live()
        return self._arena.memory[self.offset : self.end]

    def release(self) -> None:
        """Give the extent back. The owner must know that nobody touches it any more, workers included.

        Raises:
            LeaseError: The lease was released before.
        """
        self._check_live()
        self._arena.end_lease(self)

    def _check_live(self) -> None:
        if not self.is_live:
            raise LeaseError(f"{self!r} is used after its release")


class Arena:
    """Shared memory that is leased in extents.

    Args:
        raw: The bytes, a whole number of pages. `Arena.create` makes shared ones; a plain
            ``(ctypes.c_ubyte * size)()`` serves where no other process needs them.
    """

    def __init__(self, raw: RawBytes) -> None:
        self.raw: Final = raw
        """What worker processes are given, for `attach`."""
        self.memory: Final = attach(raw)
        """All bytes, writable."""
        self.space: Final = Memory(self.memory)
        """What tasks may name: the arena, and memory beside it."""
        self._extents = Extents(len(raw))
        self._idle = Extents(len(raw))
        """As `_extents`, but holding only residents: the arena as it will be when every job has ended."""
        self._leases: dict[int, Lease] = {}
        self._generations = count(1)
        self._listeners: list[Callable[[], None]] = []
        self._is_told_later = False

    @classmethod
    def create(cls, size_bytes: int, *, shm: SharedMemory | None = None) -> Self:
        """Make an arena in shared memory, every page written.

        Takes about 1 to 2 s per GiB, most of it page faults; may run in a thread while other things start.

        Args:
            size_bytes: Rounded up to whole pages.
            shm: Where shared memory lies; the machine's by default.

        Raises:
            ConfigError: There is not enough room in /dev/shm, or it does not lie in memory.
        """
        shm = shm or SharedMemory()
        size = -(-size_bytes // ALIGNMENT) * ALIGNMENT
        shm.check_room(size)
        raw = _shared_bytes(size)
        shm.check_place(ctypes.addressof(raw), size)
        return cls(raw)

    def __repr__(self) -> str:
        return (
            f"<Arena {format_bytes(self.size)}: {format_bytes(self.free)} free, {len(self._leases)} leases, "
            f"{format_bytes(self.resident)} resident>"
        )

    @property
    def size(self) -> int:
        """Bytes of the arena."""
        return self._extents.size

    @property
    def free(self) -> int:
        """Bytes that nobody leases."""
        return self._extents.free

    @property
    def leased(self) -> int:
        """Bytes that somebody leases."""
        return self.size - self.free

    @property
    def resident(self) -> int:
        """Bytes leased with `top=True`."""
        return self._idle.size - self._idle.free

    @property
    def largest_free(self) -> int:
        """Bytes of the largest extent that could be leased now."""
        return self._extents.largest_free

    @property
    def largest_when_idle(self) -> int:
        """Bytes of the largest extent that could be leased if only residents were left."""
        return self._idle.largest_free

    @property
    def leases(self) -> tuple[Lease, ...]:
        """All live leases, oldest first."""
        return tuple(sorted(self._leases.values(), key=lambda lease: lease.generation))

    def aligned(self, size: int) -> int:
        """Return the bytes that a lease of `size` bytes takes."""
        return self._extents.aligned(size)

    def lease(self, size: int, owner: str, *, top: bool = False, floor: int = 0) -> Lease | None:
        """Lease one extent, or nothing.

        Args:
            size: Bytes, rounded up to whole pages.
            owner: Who will release it.
            top: A resident lease, at the high end.
            floor: Only from this offset on.

        Returns:
            The lease, or None when no free extent is large enough now.
        """
        extent = self._extents.take(size, top=top, floor=floor)
        if extent is None:
            return None
        if top:
            self._idle.claim(extent)
        lease = Lease(self, extent, owner, next(self._generations), is_resident=top)
        self._leases[extent.offset] = lease
        return lease

    def split(self, lease: Lease, sizes: Sequence[int]) -> list[Lease]:
        """Replace a lease by one for each part of it, lowest first; each is released for itself.

        Args:
            lease: It ends with this.
            sizes: Bytes of each part, whole pages; together as many as it has.
        """
        extent = Extent(lease.offset, lease.size)
        parts = self._extents.split(extent, sizes)
        if lease.is_resident:
            self._idle.split(extent, sizes)
        del self._leases[lease.offset]
        lease.is_live = False
        leases = [
            Lease(self, part, lease.owner, next(self._generations), is_resident=lease.is_resident) for part in parts
        ]
        self._leases.update((part.offset, part) for part in leases)
        return leases

    def fits_when_idle(self, size: int, *, keep: Sequence[int] = (), floor: int = 0) -> bool:
        """Tell whether `size` bytes could be leased if every lease but the residents' had ended.

        Args:
            size: Bytes of the workspace.
            keep: Bytes of each resident extent that is wanted beside it.
            floor: Lowest offset of those.
        """
        taken: list[Extent] = []
        for wanted in keep:
            extent = self._idle.take(wanted, top=True, floor=floor)
            if extent is None:
                break
            taken.append(extent)
        fits = len(taken) == len(keep) and self.aligned(size) <= self.largest_when_idle
        for extent in taken:
            self._idle.give(extent)
        return fits

    def view(self, offset: int, shape: Sequence[int], strides: Sequence[int] | None, dtype: DTypeLike) -> NDArray[Any]:
        """Return an array over bytes of the arena; see `attach.view`."""
        return view(self.memory, offset, shape, strides, dtype)

    def on_release(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every release, on the thread that released."""
        self._listeners.append(listener)

    @contextmanager
    def together(self) -> Generator[None]:
        """Let listeners hear once of all that is released in a block, which waits for nothing: one may be in another.

        A look along a line of a thousand jobs takes 0.6 ms, and a job may have a thousand results.
        """
        if self._is_told_later:
            yield
            return
        before, self._is_told_later = self.free, True
        try:
            yield
        finally:
            self._is_told_later = False
            if self.free != before:
                self._tell()

    def end_lease(self, lease: Lease) -> None:
        """Take a lease back; owners call `Lease.release`."""
        extent = Extent(lease.offset, lease.size)
        self._extents.give(extent)
        if lease.is_resident:
            self._idle.give(extent)
        del self._leases[lease.offset]
        lease.is_live = False
        if not self._is_told_later:
            self._tell()

    def check(self) -> None:
        """Assert the invariants; for tests."""
        self._extents.check()
        self._idle.check()
        assert self.leased == sum(lease.size for lease in self._leases.values()), "leased bytes do not add up"
        residents = sum(lease.size for lease in self._leases.values() if lease.is_resident)
        assert self.resident == residents, "resident bytes do not add up"

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
