"""Turns at the event loop: clients get it in turn, whoever sends most.

Theory of operation. grpc.aio takes one call of a method at a time out of the queue in which all clients' calls stand as
they came, and each takes it some turns of the loop. While jobs keep the loop busy, calls therefore wait in that queue,
behind those of whoever sends most, where nobody can tell them apart. So jobs begin slowly: after each begin the loop
rests for some turns, in which calls are taken out as they come. They wait here instead, and clients take turns.

The order is that of `jobs.fair`: a newcomer stands beside the first tickets of the others, and not behind their
backlog.

Rejected: fewer calls per connection (grpc.max_concurrent_streams), which would let a client's cancelling wait behind
its own jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from arraymill_server.jobs.turnstile import Turnstile

SLOTS: Final = 16
"""Jobs that may be in their first moments at a time: more than keep the loop and some workers busy."""

HOLD_SECONDS: Final = 0.05
"""Longest hold of a slot: a job that takes longer goes on without one, so that short ones do not wait behind it."""

REST_TURNS: Final = 16
"""Turns of the loop between two begins, some 20 us each when nothing else runs. Beside a client with 64 small jobs in
flight, one with a single job waited for 143 ms without a rest, 10 ms with 8 turns and 8 ms with 16 (2 cores, medians);
the server did as many jobs in a second as before."""

LEAST_COST: Final = 1 << 16
"""Bytes that a job counts at least: what else costs as much time as a job without bytes."""


class Turns:
    """Slots that are given to clients in turn, weighted by cost."""

    def __init__(self, slots: int = SLOTS, rest_turns: int = REST_TURNS, hold_seconds: float = HOLD_SECONDS) -> None:
        self._free = slots
        self._rest_turns = rest_turns
        self._hold_seconds = hold_seconds
        self._rest = 0
        self._waiting = Turnstile()

    def __repr__(self) -> str:
        return f"<Turns: {self._free} slots free, {len(self._waiting)} waiting>"

    @asynccontextmanager
    async def taken(self, client: str, nbytes: int) -> AsyncGenerator[None]:
        """Wait for a slot and hold it, if not for long. Cancelling the wait gives the turn up.

        Args:
            client: Whose turn it takes.
            nbytes: What the job counts.
        """
        await self._take(client, max(nbytes, LEAST_COST))
        is_held = True

        def give_back() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._give_back()

        timer = asyncio.get_running_loop().call_later(self._hold_seconds, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()

    async def _take(self, client: str, cost: int) -> None:
        if self._free and not self._waiting and not self._rest:
            self._begin()
        else:
            await self._waiting.wait(client, cost, self._give_back)

    def _give_back(self) -> None:
        self._free += 1
        self._serve()

    def _serve(self) -> None:
        while self._free and not self._rest and self._waiting.let_through():
            self._begin()

    def _begin(self) -> None:
        self._free -= 1
        self._rest = self._rest_turns
        if self._rest:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._rest -= 1
        if self._rest:
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._serve()
