"""The limit on how long a client may keep its job's memory without feeding or reading it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from arraymill_proto.errors import DeadlineError


class Stall:
    """A clock that runs while the server waits for its client, and starts anew whenever the client moves.

    It polls nothing: a timer of the loop that fires looks when the client moved last, and is set again to what is left
    of the limit. It lapses when nothing is waited for; the next `restart` sets it again.

    Args:
        seconds: What the client may take between two moves.
        waiting_for: What the client has to do now; None: nothing.
    """

    def __init__(self, seconds: float, waiting_for: Callable[[], str | None]) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._seconds = seconds
        self._waiting_for = waiting_for
        self._moved = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.expired: asyncio.Future[None] = loop.create_future()
        """Fails with DeadlineError when the client took too long."""

    def __repr__(self) -> str:
        state = "expired" if self.expired.done() else "runs" if self._timer else "stands"
        return f"<Stall of {self._seconds:g} s: {state}>"

    def restart(self) -> None:
        """Count from now on: the client has moved, or has something to do from now on."""
        self._moved = self._loop.time()
        if self._timer is None and not self.expired.done():
            self._timer = self._loop.call_at(self._moved + self._seconds, self._look)

    def close(self) -> None:
        """Stop the clock for good."""
        if not self.expired.cancel() and not self.expired.cancelled():
            self.expired.exception()  # asyncio complains about errors that nobody looks at
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        duty = self._waiting_for()
        if duty is None or self.expired.done():
            return
        due = self._moved + self._seconds
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self.expired.set_exception(stalled(duty, self._seconds))


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


def stalled(duty: str, seconds: float) -> DeadlineError:
    """Return the error of a client that did not do its duty in time."""
    return DeadlineError(
        f"the client {duty} and did not move for {seconds:g} s; the server has given the job's place to others "
        f"(--stall {seconds:g} allows no more)",
        stall_seconds=f"{seconds:g}",
    )
