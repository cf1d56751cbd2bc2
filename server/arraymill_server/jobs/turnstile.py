"""Coroutines that wait for their turn: the asyncio shell around `fair`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from arraymill_server.jobs.fair import FairQueue


class Turnstile:
    """Lets one coroutine through at a time, clients in turn. Whoever owns it says when."""

    def __init__(self) -> None:
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()

    def __repr__(self) -> str:
        return f"<Turnstile {len(self)} waiting>"

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, client: str, cost: int, pass_on: Callable[[], None]) -> None:
        """Wait to be let through. Cancelling the wait gives the turn up.

        Args:
            client: Whose turn it takes.
            cost: What it counts, above 0.
            pass_on: Called if the wait is cancelled just when its turn has come: it is somebody else's now.
        """
        served: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = self._queue.push(client, cost, served)
        try:
            await served
        except asyncio.CancelledError:
            if not served.cancelled():
                pass_on()
            raise
        finally:
            self._queue.discard(entry)

    def let_through(self) -> bool:
        """Let the next one through; False: nobody waits."""
        while self._queue:
            served = self._queue.pop()
            if not served.done():  # else its wait was cancelled in this very turn of the loop
                served.set_result(None)
                return True
        return False
