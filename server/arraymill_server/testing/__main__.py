"""`python -m arraymill_server.testing`: the server's command, with doubles around the server and eyes inside it.

The folder that $ARRAYMILL_TESTING names is shared with the harness: workers take orders from it (`orders`), the server
writes down what it sees of itself (`observer`). $ARRAYMILL_CRASH names a crash point (`crash_points`). SIGUSR1 writes
the stacks of all tasks to stderr, SIGUSR2 those of all threads, which needs no event loop that turns.
`python -m arraymill_server` knows none of these.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import runpy
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

from arraymill_server.app import server
from arraymill_server.config import ServerConfig
from arraymill_server.engine import processes
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.jobs.board import Board
from arraymill_server.testing.crash_points import CrashPoint, arm
from arraymill_server.testing.observer import JournalledStorage, Observer
from arraymill_server.testing.orders import ordered_main
from arraymill_server.testing.stacks import task_stacks


class ObservedApp(server.App):
    """A server that is watched from within."""

    def __init__(self, config: ServerConfig, on_defect: Callable[[], None], *, folder: Path) -> None:
        super().__init__(config, on_defect)
        self._folder = folder
        self._observing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await super().start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell)
        faulthandler.register(signal.SIGUSR2)
        self._observing = asyncio.create_task(Observer(self, self._folder).run())
        if crash := os.environ.get("ARRAYMILL_CRASH"):
            arm(CrashPoint.parse(crash))

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> bool:
        if self._observing is not None:
            self._observing.cancel()
        return await super().stop(grace_seconds, hurry)


def _tell() -> None:
    """Write what is under way to stderr."""
    print(task_stacks(), file=sys.stderr, flush=True)


def main() -> None:
    """Run the server's command with the doubles in their places."""
    folder = Path(os.environ["ARRAYMILL_TESTING"])
    pool = partial(PoolEngine, main=partial(ordered_main, str(folder)))
    preload = [*processes.PRELOAD, "arraymill_server.testing.orders"]  # workers start as fast as the product's
    board = partial(Board, storage=JournalledStorage(folder))
    with (
        patch.object(processes, "PRELOAD", preload),
        patch.object(server, "PoolEngine", pool),
        patch.object(server, "Board", board),
        patch.object(server, "App", partial(ObservedApp, folder=folder)),
    ):
        runpy.run_module("arraymill_server", run_name="__main__")


if __name__ == "__main__":
    main()
