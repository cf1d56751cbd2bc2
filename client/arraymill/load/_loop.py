"""An event loop that wakes when it should: asyncio's own waits in whole milliseconds, longer than a small job takes."""

from __future__ import annotations

import asyncio
import select
import selectors
from typing import Final

_LEAST_SECONDS: Final = 20e-6
"""What one wait costs; shorter ones are not begun: epoll would make a millisecond of them."""


class _PreciseSelector(selectors.EpollSelector):
    """Waits for the descriptor of epoll itself with select, which takes microseconds, and then asks epoll."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None:
            if timeout > _LEAST_SECONDS:
                select.select([self], (), (), timeout)
            timeout = 0
        return super().select(timeout)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop. Its selector is made before all else, so its descriptor is one that select takes."""
    return asyncio.SelectorEventLoop(_PreciseSelector())
