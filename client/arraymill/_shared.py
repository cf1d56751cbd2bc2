"""Work that several callers wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """A task that belongs to all who wait for it: when the last of them gives up, it is cancelled."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(_note)
        self._waiting = 0

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._task.done()

    @property
    def has_failed(self) -> bool:
        """Whether it has no answer and will have none."""
        if self._task.done():
            return self._task.cancelled() or self._task.exception() is not None
        return self._task.cancelling() > 0

    async def wait(self) -> T:
        """Wait for the answer.

        Cancelling this leaves the work to the others who wait; the last one ends it.
        """
        if self._task.done() and not self._task.cancelled():
            return self._task.result()
        self._waiting += 1
        try:
            await asyncio.wait([self._task])
        finally:
            self._waiting -= 1
            if not self._waiting:
                await self.cancel()
        return self._task.result()

    async def cancel(self) -> None:
        """End the work; those who wait see a cancellation."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


def _note(task: asyncio.Task[T]) -> None:
    """Look at the outcome: when nobody waits any more, asyncio must not complain that nobody did."""
    if not task.cancelled():
        task.exception()
