"""Long thoughts are thought on a thread: the event loop goes on, in turns of some milliseconds.

Reading, checking and planning a graph of 4,096 nodes takes 190 ms. Only functions of values belong here: nothing on the
thread may touch what the loop changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

LARGE_NODES: Final = 256
"""Nodes of a graph from which on it is worth a thread: some 12 ms of thinking. A thread costs 0.1 ms, and up to 5 ms
wherever the loop waits for the interpreter."""

P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """Runs one function at a time: several would only take the interpreter from the loop more often."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, nodes: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function, on a thread if it is about a large graph. Cancelling the wait does not stop the thread.

        Args:
            nodes: Of the graph.
            function: What to run.
            args: Its arguments.
            kwargs: Its keyword arguments.
        """
        if nodes < LARGE_NODES:
            return function(*args, **kwargs)
        async with self._lock:
            return await asyncio.to_thread(function, *args, **kwargs)
