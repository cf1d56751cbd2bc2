"""A time limit that is set anew with every task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls back when the seconds that were set last are over.

    One timer of the event loop, which is touched only when it fires, or when it would fire too late. The common case,
    the same limit again for the next task, costs a look at the clock.

    Args:
        ring: Called at most once for each `set`.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_end = 0.0
        self._end: float | None = None
        self.seconds = 0.0
        """What was set last."""

    def __repr__(self) -> str:
        return "<Alarm off>" if self._end is None else f"<Alarm in {self._end - self._loop.time():.3f} s>"

    @property
    def is_due(self) -> bool:
        """True when what was set is over, and was not cleared."""
        return self._end is not None and self._loop.time() >= self._end

    def set(self, seconds: float) -> None:
        """Ring after some seconds, and no more for what was set before."""
        self.seconds = seconds
        self._end = self._loop.time() + seconds
        if self._timer is None or self._timer_end > self._end:
            self._start_timer(self._end)

    def clear(self) -> None:
        """Do not ring. The timer may go on, for the next `set`."""
        self._end = None

    def stop(self) -> None:
        """Do not ring, and leave nothing to the event loop."""
        self._end = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_end = end
        self._timer = self._loop.call_at(end, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.is_due:
            self._ring()
        elif self._end is not None:
            self._start_timer(self._end)
