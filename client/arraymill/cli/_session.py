"""One command's conversation with a server: an event loop that Ctrl-C and SIGTERM end by cancelling the work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from arraymill import AsyncClient
from arraymill.cli._options import Settings

T = TypeVar("T")


class TerminatedError(Exception):
    """SIGTERM came; the work is cancelled."""


def converse(settings: Settings, work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Run some work with a client.

    A signal cancels the work, which cancels its job on the server, and then ends it.

    Raises:
        KeyboardInterrupt: SIGINT came.
        TerminatedError: SIGTERM came.
    """

    async def session() -> T:
        async with AsyncClient(settings.server) as mill:
            return await work(mill)

    return run_cancellable(session)


def run_cancellable(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine function in a new event loop; SIGTERM cancels it as SIGINT does."""
    is_terminated = False

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal is_terminated
            is_terminated = True
            task.cancel()

        loop.add_signal_handler(signal.SIGTERM, terminate)
        return await work()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if is_terminated:
            raise TerminatedError from None
        raise
