"""The limits on how long a client may keep its job's memory without feeding or reading it, or nearly without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from arraymill_proto.errors import DeadlineError

LEAST_RATE: Final = 4096
"""Bytes that a client moves at least in a second for which its job waits: a modem does more."""

ALLOWANCES: Final = 4
"""Times of silence that a job waits for its client in all before that rate counts."""


class Stall:
    """Two clocks that run while the server waits for its client.

    The first starts anew whenever the client moves: it ends a silence. The second ends a trickle: the client has a
    credit of ALLOWANCES silences, never more, which the time that its job waits uses up, and to which it adds a second
    by LEAST_RATE bytes, or by having done all that it had to do.

    They poll nothing: a timer of the loop that fires looks where the clocks stand, and is set again to what is left. It
    lapses when nothing is waited for; the next `restart` sets it again.

    Args:
        seconds: What the client may take between two moves.
        waiting_for: Returns what the client has to do now, as a text or what becomes one; None: nothing.
    """

    def __init__(self, seconds: float, waiting_for: Callable[[], object | None]) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._seconds = seconds
        self._waiting_for = waiting_for
        self._moved = loop.time()
        self._since: float | None = None
        """When the server began to wait; None: it does not."""
        self._credit = self._most = ALLOWANCES * seconds
        self._timer: asyncio.TimerHandle | None = None
        self.expired: asyncio.Future[None] = loop.create_future()
        """Fails with DeadlineError when the client took too long."""

    def __repr__(self) -> str:
        state = "expired" if self.expired.done() else "runs" if self._timer else "stands"
        return f"<Stall of {self._seconds:g} s: {state}>"

    def restart(self) -> None:
        """End a silence: the client has something to do from now on, or nothing any more."""
        self._moved = self._loop.time()
        self._settle()
        if self._timer is None and not self.expired.done():
            self._timer = self._loop.call_at(self._due(), self._look)

    def moved(self, nbytes: int) -> None:
        """End a silence: the client has moved some bytes."""
        self._add(nbytes / LEAST_RATE)
        self.restart()

    def allow(self, seconds: float) -> bool:
        """Let a silence last for so long from now on, at least; tell whether that makes a difference."""
        moved = self._loop.time() + seconds - self._seconds
        is_later = moved > self._moved
        self._moved = max(self._moved, moved)
        return is_later

    def close(self) -> None:
        """Stop the clocks for good."""
        if not self.expired.cancel() and not self.expired.cancelled():
            self.expired.exception()  # asyncio complains about errors that nobody looks at
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settle(self) -> None:
        """Take what was waited off the credit."""
        now = self._loop.time()
        if self._since is not None:
            self._credit -= now - self._since
        is_waiting = self._waiting_for() is not None
        if self._since is not None and not is_waiting:
            self._add(1.0)
        self._since = now if is_waiting else None

    def _add(self, seconds: float) -> None:
        self._credit = min(self._credit + seconds, self._most)

    def _due(self) -> float:
        """Return when the first of the two clocks runs out."""
        return min(self._moved + self._seconds, self._loop.time() + max(self._credit, 0.0))

    def _look(self) -> None:
        self._timer = None
        self._settle()
        duty = self._waiting_for()
        if duty is None or self.expired.done():
            return
        if self._moved + self._seconds <= self._loop.time():
            self.expired.set_exception(stalled(duty, self._seconds))
        elif self._credit <= 0:
            self.expired.set_exception(trickled(duty, self._seconds))
        else:
            self._timer = self._loop.call_at(self._due(), self._look)


@asynccontextmanager
async def patience(seconds: float, duty: str) -> AsyncGenerator[None]:
    """Wait for the client as long as it may stall.

    Args:
        seconds: What it may take.
        duty: What it is to do, for the message.

    Raises:
        DeadlineError: It took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise stalled(duty, seconds) from exc


def stalled(duty: object, seconds: float) -> DeadlineError:
    """Return the error of a client that did not do its duty in time."""
    return DeadlineError(
        f"the client {duty} and nothing moved for {seconds:g} s, as long as --stall {seconds:g} allows; the job's "
        "memory went to others. See that the client and its link are alive and send the job again; if it only is slow, "
        "start the server with a longer --stall",
        stall_seconds=f"{seconds:g}",
    )


def trickled(duty: object, seconds: float) -> DeadlineError:
    """Return the error of a client that did its duty too slowly."""
    return DeadlineError(
        f"the client {duty} and moved too little while its job waited: in the long run it must move {LEAST_RATE:,} "
        f"bytes in a second (--stall {seconds:g}); the job's memory went to others. Send the job again on a faster "
        "link, or start the server with a longer --stall",
        stall_seconds=f"{seconds:g}",
        least_bytes_per_second=LEAST_RATE,
    )
