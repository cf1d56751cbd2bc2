"""Keeps a pool at its number of workers: starts them, replaces those that end, ends them all.

A worker that ends is replaced at once. Only a worker that ends without having done anything, neither answered a task
nor died with one, tells that workers cannot live here (no memory, a broken installation, somebody who kills them all):
after START_ATTEMPTS such ends in a row the next start waits, twice as long each time, so there is never a storm of
processes. The first answer to a task ends the waiting.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from arraymill_server.arena.attach import RawBytes
from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.link import Bounds, Death, Link
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.processes import Connection, connection, fork_server, spawn
from arraymill_server.engine.turns import Entry
from arraymill_server.engine.worker import WorkerSettings
from arraymill_server.log import get_logger

_log = get_logger(__name__)

START_ATTEMPTS: Final = 3
"""Fruitless starts in a row before `start` gives up, and before a running pool waits between attempts."""

KILLED_ATTEMPTS: Final = 10
"""The same for workers that somebody else kills before they are ready: that ends sooner or later by itself."""

FIRST_DELAY_SECONDS: Final = 0.1
"""Wait before the next start after START_ATTEMPTS fruitless ones; doubles each time."""

LAST_DELAY_SECONDS: Final = 5.0
"""Longest wait between starts: short enough to come back soon after memory has become free."""

WorkerMain: TypeAlias = Callable[[Connection, RawBytes, WorkerSettings], None]
"""What runs in a worker process: `worker.main`, or a double of it."""


class Crew(Protocol):
    """Who gives the workers their tasks."""

    def worker_idle(self) -> None:
        """A worker can take a task."""
        ...

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        """A task is answered."""
        ...

    def worker_died(self, entries: list[Entry], death: Death) -> None:
        """A worker that held these tasks touches no memory any more."""
        ...

    def workers_failed(self, error: EngineStartError) -> None:
        """No worker is left and none can be started for now."""
        ...


class Supervisor:
    """The workers of one pool."""

    def __init__(
        self, crew: Crew, raw: RawBytes, count: int, *, main: WorkerMain, settings: WorkerSettings, bounds: Bounds
    ) -> None:
        self._crew = crew
        self._raw = raw
        self._count = count
        self._main = main
        self._settings = settings
        self._bounds = bounds
        self._links: set[Link] = set()
        self._retries: set[asyncio.TimerHandle] = set()
        self._fruitless = 0
        self._spawned = 0
        self._is_holding = False
        self._is_closing = False
        self._started: asyncio.Future[None] | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self.restarts = 0
        """Workers replaced."""

    @property
    def links(self) -> list[Link]:
        """The workers that take tasks."""
        return [link for link in self._links if link.is_usable]

    async def start(self) -> None:
        """Start all workers and wait until each has said hello.

        Raises:
            EngineStartError: START_ATTEMPTS workers in a row ended before they were ready.
        """
        fork_server.hold()
        self._is_holding = True
        self._started = asyncio.get_running_loop().create_future()
        try:
            for _ in range(self._count):
                self._start_one()
            await self._started
        except BaseException:
            await self.close(grace_seconds=0)
            raise

    async def close(self, grace_seconds: float) -> None:
        """End all workers, then the fork server if no other pool holds it. Safe to call twice.

        1. Hang up: each worker finishes what it holds, finds end of file and leaves.
        2. SIGKILL for those that take longer than `grace_seconds`; cancelling goes here directly.
        3. Wait until each end is confirmed: only then is the arena untouched.
        4. Let go of the fork server.
        """
        self._is_closing = True
        for retry in self._retries:
            retry.cancel()
        self._retries.clear()
        for link in self._links:
            link.hang_up()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._gone.wait()
        except TimeoutError:
            pass
        finally:
            for link in self._links:
                link.kill("was ended with the pool")
            await self._gone.wait()
            if self._is_holding:
                self._is_holding = False
                fork_server.release()

    def link_ready(self, link: Link) -> None:
        """Count the worker in; see `LinkOwner`."""
        if self._started is not None and not self._started.done() and len(self.links) == self._count:
            self._started.set_result(None)
        self._crew.worker_idle()

    def link_replied(self, link: Link, entry: Entry, reply: Reply) -> None:
        """Pass the answer on; see `LinkOwner`."""
        self._fruitless = 0
        self._crew.worker_replied(entry, reply)

    def link_died(self, link: Link, death: Death) -> None:
        """Pass its tasks on, then replace the worker; see `LinkOwner`."""
        self._links.discard(link)
        if not self._links:
            self._gone.set()
        entries = list(link.entries)
        self._crew.worker_died(entries, death)
        if self._is_closing:
            return
        _log.warning("worker_died", pid=link.pid, cause=death.cause, held=len(entries), answered=link.answered)
        self.restarts += link.is_ready
        self._fruitless += not link.answered and not entries
        limit = KILLED_ATTEMPTS if death.is_foreign else START_ATTEMPTS
        self._replace(death.cause, has_failed=not link.is_ready and self._fruitless >= limit)

    def _start_one(self) -> None:
        try:
            link = self._launch()
        except (OSError, EOFError) as exc:
            _log.error("worker_not_started", error=repr(exc))
            self._fruitless += 1
            self._replace("could not be made", has_failed=self._fruitless >= START_ATTEMPTS)
            return
        self._links.add(link)
        self._gone.clear()

    def _launch(self) -> Link:
        ours, theirs = socket.socketpair()
        pipe = connection(theirs.detach())
        try:
            process = spawn("arraymill-worker", self._main, pipe, self._raw, self._settings)
        except BaseException:
            ours.close()
            raise
        finally:
            pipe.close()
        return Link(process, ours, self, self._bounds)

    def _replace(self, cause: str, *, has_failed: bool) -> None:
        if self._fruitless < START_ATTEMPTS:
            self._start_one()
            return
        delay = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (self._fruitless - START_ATTEMPTS))
        self._start_later(delay)
        if has_failed:
            self._fail(cause)

    def _start_later(self, delay: float) -> None:
        def start() -> None:
            self._retries.discard(handle)
            self._start_one()

        handle = asyncio.get_running_loop().call_later(delay, start)
        self._retries.add(handle)

    def _fail(self, cause: str) -> None:
        error = EngineStartError(
            f"worker processes end before they are ready, {self._fruitless} in a row (the last one {cause}); check the "
            "limits of memory and processes, and the output of the workers in the server's log",
        )
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)
        elif not self._links:
            self._crew.workers_failed(error)
