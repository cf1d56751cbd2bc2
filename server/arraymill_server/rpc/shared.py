"""Memory shared with one client: what it holds, and what its jobs still use of it.

A segment lives as long as the client holds it or a job uses it, whichever is longer. What a client holds counts against
its share of the budget until the segment is gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import resource
from functools import partial
from typing import Final

from arraymill_proto.errors import ArrayNotFoundError, BusyError, ParameterError, TooLargeError
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.arena.segments import Segment, Segments, create
from arraymill_server.jobs.shares import Shares
from arraymill_server.quantities import format_bytes

MAX_SEGMENTS: Final = 1024
"""Segments of one client: each takes two descriptors here, and one and a mapping in every worker."""

MAX_ALL_SEGMENTS: Final = 8192
"""Segments of all clients: a quarter of `app.descriptors.DESCRIPTORS`, an eighth of the mappings that Linux allows."""


class Budget:
    """Bytes that may be shared with all clients together.

    Args:
        segments: Where they are made.
        budget_bytes: Most bytes.
        most_segments: However small they are.
    """

    def __init__(self, segments: Segments, budget_bytes: int, most_segments: int | None = None) -> None:
        self.segments: Final = segments
        self.nbytes: Final = budget_bytes
        self.shares: Final = Shares(budget_bytes)
        self.places: Final = Shares(_most_segments() if most_segments is None else most_segments)
        """As `shares`, counting segments."""
        self.turn: Final = asyncio.Semaphore()
        """To make one: the kernel's work takes a thread, of which there are few."""

    def has_room(self, client: str, size: int) -> bool:
        """Tell whether a client may have a segment more."""
        return self.places.may_claim(client, 1) and self.shares.may_claim(client, size)

    def place(self, client: str, size: int) -> None:
        """Count a segment, which is about to be made: what two clients are promised at a time exists once."""
        self.places.place(client, 1)
        self.shares.place(client, size)

    def displace(self, client: str, size: int) -> None:
        """Count it no more: it is gone, or was not made."""
        self.places.place(client, -1)
        self.shares.place(client, -size)


class Held:
    """A segment, and how many use it."""

    def __init__(self, budget: Budget, segment: Segment, client: str) -> None:
        self.segment: Final = segment
        self._budget = budget
        self._client = client
        self._users = 1
        self.arena: Arena | None = None
        """Leases its bytes, if they are staging memory."""

    def __repr__(self) -> str:
        return f"<Held {self.segment!r} by {self._users}>"

    def hold(self) -> None:
        """Use it once more."""
        self._users += 1

    def release(self) -> None:
        """Use it once less; whoever is last ends it."""
        self._users -= 1
        if not self._users:
            self._budget.segments.remove(self.segment)
            self.segment.forget()
            self.arena = None
            self._budget.displace(self._client, self.segment.size)


class SharedMemory:
    """All memory that one client shares with the server.

    Args:
        budget: What there is for all of them.
        client: Whose it is.
    """

    def __init__(self, budget: Budget, client: str) -> None:
        self._budget = budget
        self._client = client
        self._held: dict[int, Held] = {}
        self._making = 0
        self._is_closed = False

    def __repr__(self) -> str:
        nbytes = sum(held.segment.size for held in self._held.values())
        return f"<SharedMemory of {self._client}: {len(self._held)} segments of {nbytes:,} bytes>"

    async def make(self, nbytes: int) -> Held:
        """Make a segment; cancelling gives it up. It counts from now on.

        Raises:
            ParameterError: No size of an array.
            TooLargeError: More than all clients together may share.
            BusyError: There is not enough left of it.
        """
        size = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._check(nbytes, size)
        self._making += 1
        try:
            segment = await self._segment(size)
        except OSError as exc:
            raise BusyError(
                f"the server has no memory for {format_bytes(size)} more: {exc.strerror}", retry_after=1.0
            ) from exc
        finally:
            self._making -= 1
        held = Held(self._budget, segment, self._client)
        if self._is_closed:
            held.release()
            raise asyncio.CancelledError
        self._held[held.segment.number] = held
        return held

    def get(self, number: int) -> Held:
        """Return a segment of this client.

        Raises:
            ArrayNotFoundError: It has none of this number.
        """
        held = self._held.get(number)
        if held is None:
            raise ArrayNotFoundError(f"no segment {number} is shared with this client", segment=number)
        return held

    def release(self, number: int) -> None:
        """Let go of a segment for the client; jobs that use it go on."""
        self.get(number)
        self._held.pop(number).release()

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        self._is_closed = True
        while self._held:
            self._held.popitem()[1].release()

    async def _segment(self, size: int) -> Segment:
        """Make a segment, which counts until it is gone, also where nobody waits for it any more."""
        budget, displace = self._budget, partial(self._budget.displace, self._client, size)
        budget.place(self._client, size)
        making: asyncio.Future[int] | None = None
        try:
            await budget.turn.acquire()
            making = asyncio.get_running_loop().run_in_executor(None, create, size)
            making.add_done_callback(lambda _: budget.turn.release())
            return budget.segments.add(await asyncio.shield(making), size)
        except asyncio.CancelledError:
            if making is None:
                displace()
            else:
                making.add_done_callback(_close)
                making.add_done_callback(lambda _: displace())
            raise
        except OSError:
            displace()
            raise

    def _check(self, nbytes: int, size: int) -> None:
        if nbytes <= 0:
            raise ParameterError(f"{nbytes} bytes of memory to share: at least 1", nbytes=nbytes)
        if size > self._budget.nbytes:
            raise TooLargeError(
                f"{format_bytes(size)} to be shared, the server shares at most {format_bytes(self._budget.nbytes)} "
                "with all clients of its machine; raise --shared-memory",
                needed_bytes=size,
                limit=self._budget.nbytes,
            )
        if len(self._held) + self._making >= MAX_SEGMENTS:
            raise BusyError(
                f"{MAX_SEGMENTS:,} arrays of this client lie in shared memory, the most that may", retry_after=1.0
            )
        if not self._budget.has_room(self._client, size):
            raise BusyError(
                f"no room for {format_bytes(size)} more in the {format_bytes(self._budget.nbytes)} that the server "
                "shares with clients of its machine; let go of arrays, or raise --shared-memory",
                retry_after=1.0,
                needed_bytes=size,
            )


class Staging:
    """Memory through which arrays of one client travel that lie elsewhere: workspaces of its jobs."""

    def __init__(self, held: Held) -> None:
        self.segment: Final = held.segment
        self._held = held
        held.arena = Arena((ctypes.c_ubyte * self.segment.size).from_buffer(self.segment.memory))

    def lease(self, least: int, most: int, owner: str) -> StagingLease | None:
        """Lease a workspace if there is one now.

        Args:
            least: Bytes with which the job can make progress.
            most: Bytes of which it can make use.
            owner: The job, for messages.
        """
        arena = self._held.arena
        if arena is None:  # the client has gone, and its last job
            return None
        nbytes = min(most, arena.largest_free)
        lease = arena.lease(nbytes, owner) if nbytes >= least else None
        return None if lease is None else StagingLease(self._held, lease)


class StagingLease:
    """A workspace in shared memory."""

    def __init__(self, held: Held, lease: Lease) -> None:
        self._held = held
        self._lease = lease
        self.address: Final = held.segment.address + lease.offset
        self.size: Final = lease.size
        self._users = 1
        held.hold()

    def hold(self) -> None:
        """Use it once more."""
        self._users += 1

    def release(self) -> None:
        """Use it once less. Whoever is last gives it back: neither a worker nor the client may touch it any more."""
        self._users -= 1
        if not self._users:
            self._lease.release()
            del self._lease  # it refers to the bytes
            self._held.release()


def _most_segments() -> int:
    """Return how many there may be: an eighth of the files that this process may have open, at two each."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_ALL_SEGMENTS if limit == resource.RLIM_INFINITY else min(MAX_ALL_SEGMENTS, limit // 8)


def _close(making: asyncio.Future[int]) -> None:
    """Close a file that nobody waits for any more."""
    if not making.cancelled() and making.exception() is None:
        os.close(making.result())
