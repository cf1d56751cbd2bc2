"""An event loop whose time stands still until a test moves it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class _IdleSelector(selectors.DefaultSelector):
    """Waits for nothing: a loop that would wait has nothing to do."""

    def __init__(self, on_idle: Callable[[], None]) -> None:
        super().__init__()
        self._on_idle = on_idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._on_idle()
        return super().select(0)


class ClockedLoop(asyncio.SelectorEventLoop):
    """Its timers go off when `advance` has passed their time. No sockets: it never waits.

    Attributes:
        now: Seconds; what `time` tells.
        defects: What nobody has caught.
    """

    def __init__(self) -> None:
        super().__init__(_IdleSelector(self.stop))
        self.now = 1000.0
        self.defects: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.defects.append(context))

    def __repr__(self) -> str:
        return f"<ClockedLoop at {self.now:g} s>"

    def time(self) -> float:
        return self.now

    def run(self, work: Awaitable[Answer]) -> Answer:
        """Run to the end of some work.

        Raises:
            RuntimeError: There is nothing left to do, and the work has not ended.
        """
        return self.run_until_complete(work)

    def settle(self) -> None:
        """Run until there is nothing left to do."""
        self.run_forever()

    def turn(self, count: int | None) -> None:
        """Go round so many times, 0 for not at all; None: until there is nothing left to do."""
        if count is None:
            self.settle()
        elif count:
            self.run(_turns(count - 1))

    def advance(self, seconds: float) -> None:
        """Let time pass, all at once; what is due goes off in the next turn."""
        self.now += seconds


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
