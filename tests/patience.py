"""Waiting for what a test cannot be told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS = 20.0
"""Far more than anything here takes, even on a busy machine."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


async def turns(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
