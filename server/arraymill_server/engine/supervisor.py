"""Keeps a pool at its number of workers: starts them, replaces those that end, ends them all.

Every worker has a seat, and `_fill` starts one for each seat that nobody has:

- A worker that ends is replaced at once. Only a worker that ends without having done anything, neither answered a task
  nor died with one, tells that workers cannot live here (no memory, a broken installation, somebody who kills them
  all): after START_ATTEMPTS such ends in a row the next start waits, twice as long each time, so there is never a storm
  of processes. The first answer to a task ends the waiting.
- A worker that cannot be killed is fenced and replaced as if it had ended. As many may be fenced as there are seats;
  each one more leaves a seat empty, until the kernel confirms an end, so their number is bounded.
- A worker that is worn, by the number of its tasks or by the private memory that it has taken, is recycled: a successor
  starts beside it, on the same seat, and when that is ready the worn one gets no more tasks and leaves. One at a time,
  so there is never more than one worker too many.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from arraymill_server.arena.attach import RawBytes
from arraymill_server.arena.segments import Segment, Segments
from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.crew import Crew
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.link import Link
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.processes import (
    MAX_FOLDER_BYTES,
    Connection,
    Process,
    connection,
    folder_too_long,
    fork_server,
    spawn,
)
from arraymill_server.engine.turns import Entry
from arraymill_server.engine.worker import WorkerSettings
from arraymill_server.log import get_logger

_log = get_logger(__name__)

START_ATTEMPTS: Final = 3
"""Fruitless starts in a row before `start` gives up, and before a running pool waits between attempts."""

FIRST_START_SECONDS: Final = 3.0
"""What a new worker of a running pool may take to be ready, which takes it 7 ms; doubles after each one in a row that
took longer, up to the whole bound: a swapping machine is slow, but a worker that is stopped at its start must not keep
a seat."""

KILLED_ATTEMPTS: Final = 10
"""The same for workers that somebody else kills before they are ready: that ends sooner or later by itself."""

FIRST_DELAY_SECONDS: Final = 0.1
"""Wait before the next start after START_ATTEMPTS fruitless ones; doubles each time."""

LAST_DELAY_SECONDS: Final = 5.0
"""Longest wait between starts: short enough to come back soon after memory has become free. Also the wait after a
successor that did not live."""

WorkerMain: TypeAlias = Callable[[Connection, RawBytes, WorkerSettings], None]
"""What runs in a worker process: `worker.main`, or a double of it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What workers may take."""

    start_seconds: float
    """From the start of one to its hello."""
    tasks: float
    """Tasks after which one is recycled."""
    grown_bytes: int
    """Private memory, beyond that of its hello, with which one is recycled."""


class Supervisor:
    """The workers of one pool."""

    def __init__(
        self,
        crew: Crew,
        raw: RawBytes,
        count: int,
        *,
        main: WorkerMain,
        settings: WorkerSettings,
        bounds: Bounds,
        segments: Segments,
    ) -> None:
        self._crew = crew
        self._raw = raw
        self._count = count
        self._main = main
        self._settings = settings
        self._bounds = bounds
        self._segments = segments
        segments.on_add = self._map
        segments.on_remove = self._unmap
        self._links: set[Link] = set()
        self._fenced: set[Link] = set()
        self._retries: dict[int, asyncio.TimerHandle] = {}
        self._fruitless = 0
        self._late = 0
        """Workers in a row that were not ready in time; other workers may answer tasks meanwhile."""
        self._no_recycling_before = 0.0
        self._is_holding = False
        self._is_closing = False
        self._started: asyncio.Future[None] | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self.endings: Counter[Ending] = Counter()
        """Workers that were ready and ended while the pool was open, by the reason."""

    @property
    def links(self) -> list[Link]:
        """The workers that take tasks."""
        return [link for link in self._links if link.is_usable]

    @property
    def fenced(self) -> int:
        """Workers that cannot be killed."""
        return len(self._fenced)

    @property
    def is_stuck(self) -> bool:
        """True when there is no worker, and none will come before one that cannot be killed has ended."""
        return not self._links and self.fenced >= 2 * self._count

    async def start(self) -> None:
        """Start all workers and wait until each has said hello.

        Raises:
            EngineStartError: START_ATTEMPTS workers in a row ended before they were ready.
        """
        if (length := folder_too_long()) is not None:
            raise EngineStartError(
                f"the name of the folder for temporary files has {length} bytes, at most {MAX_FOLDER_BYTES} leave room "
                "for the socket of the workers; set TMPDIR to a shorter one"
            )
        fork_server.hold()
        self._is_holding = True
        self._started = asyncio.get_running_loop().create_future()
        try:
            self._fill()
            await self._started
        except BaseException:
            await self.close(grace_seconds=0)
            raise

    async def close(self, grace_seconds: float) -> None:
        """End all workers, then the fork server if no other pool holds it. Safe to call twice.

        1. Hang up: each worker finishes what it holds, finds end of file and leaves.
        2. SIGKILL for those that take longer than `grace_seconds`; cancelling goes here directly.
        3. Wait until each end is confirmed: only then is the arena untouched. A worker that cannot be killed is fenced
           after some seconds, and not waited for.
        4. Let go of the fork server.
        """
        self._is_closing = True
        for retry in self._retries.values():
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
                link.kill(Ending.CLOSED, "was ended with the pool")
            await self._gone.wait()
            while self._fenced:
                self._fenced.pop().abandon()
            if self._is_holding:
                self._is_holding = False
                fork_server.release()

    def kill_holders(self, job: str, ending: Ending, cause: str) -> None:
        """End every worker that holds a task of a job."""
        for link in tuple(self._links):
            if any(entry.job == job for entry in link.entries):
                link.kill(ending, cause)

    def link_ready(self, link: Link) -> None:
        """Count the worker in, and its predecessor out; see `LinkOwner`."""
        self._late = 0
        for other in self.links:
            if other.seat == link.seat and other is not link:
                other.retire()
        if self._started is not None and not self._started.done() and len(self.links) == self._count:
            self._started.set_result(None)
        self._crew.worker_idle()

    def link_replied(self, link: Link, entry: Entry, reply: Reply) -> None:
        """Pass the answer on; see `LinkOwner`."""
        self._fruitless = 0
        if link.answered >= self._bounds.tasks or link.grown_bytes > self._bounds.grown_bytes:
            self._recycle(link)
        self._crew.worker_replied(entry, reply)

    def link_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        """Pass on what the worker had not begun, and replace it; see `LinkOwner`."""
        _log.error("worker_fenced", pid=link.pid, cause=death.cause, held=len(link.entries), fenced=self.fenced + 1)
        self._fenced.add(link)
        self._lose(link, death)
        self._crew.worker_fenced(link, death, waiting)
        if not self._is_closing:
            self._fill()

    def link_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        """Pass its tasks on, then replace the worker; see `LinkOwner`."""
        held = len(link.entries)
        if link in self._fenced:
            _log.warning("worker_unfenced", pid=link.pid, cause=death.cause)
            self._fenced.discard(link)
        else:
            self._lose(link, death)
        self._crew.worker_died(link, death, suspect)
        if self._is_closing:
            return
        level = _log.info if death.ending is Ending.RECYCLED else _log.warning
        level("worker_died", pid=link.pid, cause=death.cause, held=held, answered=link.answered)
        self._fruitless += not link.answered and not held
        self._late += death.ending is Ending.UNREADY
        limit = KILLED_ATTEMPTS if death.is_foreign else START_ATTEMPTS
        self._fill()
        if not link.is_ready and self._fruitless >= limit:
            self._fail(death.cause)

    def _lose(self, link: Link, death: Death) -> None:
        """A worker is one no more."""
        self._links.discard(link)
        if not self._links:
            self._gone.set()
        if link.is_ready and not self._is_closing:
            self.endings[death.ending] += 1
        if not link.is_ready and self._is_taken(link.seat):
            self._no_recycling_before = asyncio.get_running_loop().time() + LAST_DELAY_SECONDS

    # ------------------------------------------------------------------ seats

    def _is_taken(self, seat: int) -> bool:
        return seat in self._retries or any(link.seat == seat and not link.is_retiring for link in self._links)

    def _fill(self) -> None:
        """Start a worker for every seat that has none, now or later."""
        seats = [seat for seat in range(self._count) if not self._is_taken(seat)]
        left_empty = max(0, self.fenced - self._count)
        for seat in seats[left_empty:]:
            if self._fruitless < START_ATTEMPTS:
                self._start_one(seat)
            else:
                self._start_later(seat)

    def _start_one(self, seat: int) -> None:
        if not self._launch(seat):
            self._fruitless += 1
            self._start_later(seat)
            if self._fruitless >= START_ATTEMPTS:
                self._fail("could not be made")

    def _start_later(self, seat: int) -> None:
        def start() -> None:
            del self._retries[seat]
            self._start_one(seat)

        delay = _doubled(FIRST_DELAY_SECONDS, self._fruitless - START_ATTEMPTS, LAST_DELAY_SECONDS)
        self._retries[seat] = asyncio.get_running_loop().call_later(delay, start)

    def _launch(self, seat: int) -> bool:
        """Start a worker; False when no process is to be had."""
        try:
            process, pipe = self._spawn()
        except (OSError, EOFError) as exc:
            _log.error("worker_not_started", error=repr(exc))
            return False
        link = Link(process, pipe, self, seat=seat, start_seconds=self._start_seconds())
        self._links.add(link)
        self._gone.clear()
        for segment in self._segments:
            link.map_segment(segment)
        return True

    def _start_seconds(self) -> float:
        """Return what the next worker may take to be ready; the first ones have no pool yet that waits for them."""
        if self._started is None or not self._started.done():
            return self._bounds.start_seconds
        return _doubled(FIRST_START_SECONDS, self._late, self._bounds.start_seconds)

    def _spawn(self) -> tuple[Process, socket.socket]:
        """Start a process and return it with the server's end of its pipe."""
        ours, theirs = socket.socketpair()
        pipe = connection(theirs.detach())
        try:
            return spawn("arraymill-worker", self._main, pipe, self._raw, self._settings), ours
        except BaseException:
            ours.close()
            raise
        finally:
            pipe.close()

    # ------------------------------------------------------------------ segments

    def _map(self, segment: Segment) -> None:
        for link in self._links:
            link.map_segment(segment)

    def _unmap(self, segment: Segment) -> None:
        for link in self._links:
            link.unmap_segment(segment)

    # ------------------------------------------------------------------ wear

    def _recycle(self, link: Link) -> None:
        """Start a successor, unless one starts already or the last one has died a moment ago."""
        now = asyncio.get_running_loop().time()
        is_recycling = len(self._links) > len({other.seat for other in self._links})
        if self._is_closing or is_recycling or link.is_retiring or now < self._no_recycling_before:
            return
        if not self._launch(link.seat):
            self._no_recycling_before = now + LAST_DELAY_SECONDS

    def _fail(self, cause: str) -> None:
        error = EngineStartError(
            f"worker processes end before they are ready, {self._fruitless} in a row (the last one {cause}); check the "
            "limits of memory and processes, and the output of the workers in the server's log",
        )
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)
        elif not self._links:
            self._crew.workers_failed(error)


def _doubled(first_seconds: float, times: int, most_seconds: float) -> float:
    """Return seconds that are doubled so many times, however many, up to a bound."""
    seconds = first_seconds
    while times > 0 and seconds < most_seconds:
        seconds, times = 2 * seconds, times - 1
    return min(seconds, most_seconds)
