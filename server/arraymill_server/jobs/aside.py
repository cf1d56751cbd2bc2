"""Long thoughts are thought on a thread: the event loop goes on, in turns of some milliseconds.

Only functions of values belong here: nothing on the thread may touch what the loop changes. `server/DESIGN.md` tells
what thinking about the largest graphs takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from arraymill_server.jobs.turnstile import Turnstile

LARGE_NODES: Final = 256
"""Nodes of a graph from which on it is worth a thread: some 12 ms of thinking. A thread costs 0.1 ms, and up to 5 ms
wherever the loop waits for the interpreter."""

P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """Runs one function at a time: several would only take the interpreter from the loop more often.

    Clients take turns, weighted by nodes (`jobs.fair`).
    """

    def __init__(self) -> None:
        self._is_busy = False
        """True while a thread thinks, or is about to: also for a caller that has gone."""
        self._waiting = Turnstile()

    def __repr__(self) -> str:
        return f"<Aside {'thinks' if self._is_busy else 'is idle'}, {len(self._waiting)} waiting>"

    async def run(self, client: str, nodes: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function, on a thread if it is about a large graph.

        Cancelling the wait does not stop the thread: whoever is next waits for its end all the same.

        Args:
            client: Whose turn it takes.
            nodes: Of the graph.
            function: What to run.
            args: Its arguments.
            kwargs: Its keyword arguments.
        """
        if nodes < LARGE_NODES:
            return function(*args, **kwargs)
        await self._turn(client, nodes)
        try:
            thought = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
        except BaseException:
            self._next()
            raise
        thought.add_done_callback(self._thought)
        await asyncio.wait([thought])
        return thought.result()

    async def _turn(self, client: str, nodes: int) -> None:
        if self._is_busy:
            await self._waiting.wait(client, nodes, self._next)
        self._is_busy = True

    def _thought(self, thought: asyncio.Future[Any]) -> None:
        if not thought.cancelled():
            thought.exception()  # asyncio complains about errors that nobody looks at
        self._next()

    def _next(self) -> None:
        """Let the next one think, if there is one."""
        self._is_busy = self._waiting.let_through()
