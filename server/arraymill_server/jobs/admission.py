"""Admission: a job gets its memory here before anything else is done for it. The asyncio shell around `line`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from arraymill_proto.limits import DEFAULT_PRIORITY
from arraymill_server.arena.arena import Arena, Lease
from arraymill_server.engine.base import Fence
from arraymill_server.jobs.line import Line
from arraymill_server.jobs.ticket import Keep, Ticket


class Admission:
    """Hands out workspaces of an arena in fair turns.

    Args:
        arena: What is handed out; every release of it wakes those who wait.
        max_waiting: Jobs that may wait.
    """

    def __init__(self, arena: Arena, max_waiting: int) -> None:
        self._arena = arena
        self._line = Line(arena, max_waiting)
        self._wakers: dict[Ticket, asyncio.Future[None]] = {}
        arena.on_release(self._serve)

    def __repr__(self) -> str:
        return f"<Admission {repr(self._line).removeprefix('<Line ')}"

    @property
    def running(self) -> int:
        """Jobs that hold memory."""
        return self._line.running

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return self._line.waiting

    def admit(
        self,
        minimum: int,
        wanted: int,
        *,
        owner: str,
        client: str,
        keep: Keep | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Turn:
        """Wait for a workspace: ``async with admission.admit(…) as lease:``; the lease ends with the block.

        Before the block ends, no worker may touch the workspace any more. Cancelling a wait gives the turn up.

        Args:
            minimum: Bytes with which the job can always make progress.
            wanted: Bytes that it can make use of; the lease has between `minimum` and these (rounded up to pages).
            owner: The job, for messages.
            client: Whose turn it takes.
            keep: Resident memory that the job needs as well, such as a `pending.PendingGroup`: it is placed in the
                same step as the workspace. It does not end with the block.
            priority: 0 to 9; see `line`.

        Raises:
            TooLargeError: On entering: it can never fit beside the resident arrays.
            BusyError: On entering: too many jobs wait.
        """
        return Turn(self, Ticket(minimum, wanted, owner, client, keep, priority))

    def on_move(self, callback: Callable[[], None]) -> None:
        """Call back whenever places in the line may be others."""
        self._line.on_move = callback

    def places(self) -> dict[str, int]:
        """Return how many jobs stand before each one that waits, by owner."""
        return self._line.places()

    def position(self, turn: Turn) -> int | None:
        """Return how many jobs stand before this one, None when it does not wait."""
        return self._line.position(turn.ticket)

    def needed_bytes(self, owner: str) -> int:
        """Return the bytes that the job of an owner waits for, 0 when it does not wait."""
        return self._line.needed_bytes(owner)

    @property
    def free_bytes(self) -> int:
        """Bytes that nobody holds."""
        return self._arena.free

    def position_of(self, owner: str) -> int | None:
        """Return how many jobs stand before that of an owner, None when it does not wait."""
        return self._line.position_of(owner)

    async def enter(self, ticket: Ticket) -> Lease:
        """Wait until the ticket is served; `Turn` calls this."""
        self._line.join(ticket)
        try:
            self._serve()
            if self._line.position(ticket) is not None:
                await self._wait(ticket)
            if ticket.error is not None:
                raise ticket.error
            assert ticket.lease is not None
            return ticket.lease
        except BaseException:
            self.leave(ticket)
            raise

    def leave(self, ticket: Ticket) -> None:
        """End a ticket; `Turn` calls this."""
        if self._line.leave(ticket):
            self._serve()  # whoever stood behind a ticket that gave up may fit

    async def _wait(self, ticket: Ticket) -> None:
        waker = self._wakers[ticket] = asyncio.get_running_loop().create_future()
        try:
            await waker
        finally:
            del self._wakers[ticket]

    def _serve(self) -> None:
        for ticket in self._line.serve():
            waker = self._wakers.get(ticket)
            if waker is not None and not waker.done():
                waker.set_result(None)


class Turn:
    """One wait for memory and the workspace that it ends with."""

    def __init__(self, admission: Admission, ticket: Ticket) -> None:
        self._admission = admission
        self._fence: Fence | None = None
        self.ticket = ticket

    def __repr__(self) -> str:
        position = self._admission.position(self)
        state = f"behind {position} jobs" if position is not None else repr(self.ticket.lease)
        return f"<Turn of {self.ticket.owner}: {state}>"

    def hold(self, fence: Fence) -> None:
        """Keep the lease beyond the end of the block, until a fence falls."""
        self._fence = fence

    async def __aenter__(self) -> Lease:
        return await self._admission.enter(self.ticket)

    async def __aexit__(self, *_: object) -> None:
        if self._fence is None:
            self._admission.leave(self.ticket)
        else:
            self._fence.add_done_callback(lambda _: self._admission.leave(self.ticket))
