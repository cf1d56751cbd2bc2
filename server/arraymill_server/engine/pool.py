"""The pool: an engine of worker processes that share the arena.

Theory of operation. Tasks wait in `Turns`, are sent to the worker that holds fewest, two at a time so that the next one
is there when a worker has done one, and are settled by the reply. `Supervisor` keeps the workers alive, `Link` is one
of them. When a worker dies, the task that it was running is the suspect; the one behind it is queued again as if
nothing had been. A task that may be the reason of `max_attempts` deaths fails its job, and only that. A worker that
somebody else has killed is no strike against its task: under a storm of `kill -9` the same task is hit three times
soon. Yet there is an end to that too, MAX_LOSSES. Tasks are pure, so running one again is always right.

Everything happens on the event loop's thread; nothing is locked and nothing blocks, except for the 2 ms of starting a
process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import Final

from arraymill_proto.errors import ArraymillError, ConnectionFailedError, Reason, TooLargeError, WorkerError
from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.engine import worker
from arraymill_server.engine.base import EngineStartError, EngineStatus
from arraymill_server.engine.describe import operations_of
from arraymill_server.engine.link import Bounds, Death
from arraymill_server.engine.messages import REQUEST_BYTES, Reply, Request, encode
from arraymill_server.engine.outcome import error_of
from arraymill_server.engine.supervisor import Supervisor, WorkerMain
from arraymill_server.engine.turns import Entry, Turns
from arraymill_server.engine.worker import WorkerSettings
from arraymill_server.plan.program import Task

CLOSE_SECONDS: Final = 2.0
"""Grace of running tasks at `close`. A block takes milliseconds; only a hung one needs more."""

START_SECONDS: Final = 30.0
"""From the start of a worker to its hello. It takes 7 ms, the first one 0.2 s, a swapping machine much longer."""

MAX_LOSSES: Final = 20
"""Deaths of its workers, whatever their reason, after which a task fails. With two workers of which a random one is
killed again and again, a task that is always running is hit 20 times in a row once in a million."""

_HINTS: Final = {
    "SIGKILL": "SIGKILL comes from outside, or from the kernel when memory is short",
    "SIGSEGV": "SIGSEGV is a crash of native code, and its traceback is in the server's log",
    "longer": "The time limit of a task is an option of the server",
}
"""What a word in the cause of a death says besides."""


class PoolEngine:
    """Runs tasks in worker processes.

    Args:
        raw: The arena's bytes, shared with every worker.
        workers: Number of processes.
        worker_memory_bytes: Private memory of each worker beyond what it starts with; beyond it a task fails with
            TooLargeError.
        task_timeout_seconds: A worker that takes longer for one task is killed; the task is tried again.
        max_attempts: Deaths of workers that a task may be the reason of before it fails with WorkerError.
        in_flight: Tasks that a worker holds: the one that it runs and those that wait in its pipe.
        start_timeout_seconds: A worker that takes longer to be ready is killed.
        main: What runs in a worker process.
    """

    def __init__(
        self,
        raw: RawBytes,
        workers: int,
        *,
        worker_memory_bytes: int,
        task_timeout_seconds: float,
        max_attempts: int = 3,
        in_flight: int = 2,
        start_timeout_seconds: float = START_SECONDS,
        main: WorkerMain = worker.main,
    ) -> None:
        self._memory = attach(raw)
        self._max_attempts = max_attempts
        self._in_flight = in_flight
        self._turns = Turns()
        self._held: dict[str, int] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._task_ids = count(1)
        self._is_closed = False
        self._supervisor = Supervisor(
            self,
            raw,
            workers,
            main=main,
            settings=WorkerSettings(worker_memory_bytes),
            bounds=Bounds(start_timeout_seconds, task_timeout_seconds),
        )

    def __repr__(self) -> str:
        status = self.status
        idle = status.workers - status.busy
        return f"<PoolEngine {status.workers} workers: {status.busy} busy, {idle} idle | {status.queued} queued>"

    @property
    def status(self) -> EngineStatus:
        """What the pool is doing now."""
        links = self._supervisor.links
        busy = sum(bool(link.entries) for link in links)
        return EngineStatus(len(links), busy, len(self._turns), self._supervisor.restarts)

    async def start(self) -> None:
        """Start the workers; returns when every one has said hello.

        To be called before any gRPC object exists and before the loop has other work: it starts the fork server, which
        blocks the loop for 0.2 s. Cancelling it ends what was started.

        Raises:
            EngineStartError: Workers end before they are ready.
        """
        await self._supervisor.start()

    def submit(self, job: str, task: Task) -> asyncio.Future[float]:
        """Queue one task; see `Engine.submit`."""
        if self._is_closed:
            raise ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)
        task_id = next(self._task_ids)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        payload = encode(Request(task_id, 1, task))
        if len(payload) > REQUEST_BYTES:
            future.set_exception(_too_long(len(payload)))
            return future
        self._turns.push(Entry(task_id, job, task, future, payload))
        self._dispatch()
        return future

    async def wait_idle(self, job: str) -> None:
        """Drop the job's queued tasks and wait for those that workers hold; see `Engine.wait_idle`."""
        for entry in self._turns.drop(job):
            entry.future.cancel()
        if job not in self._held:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job, []).append(waiter)
        await waiter

    async def close(self) -> None:
        """End all workers; see `Engine.close`."""
        self._is_closed = True
        for entry in self._turns.clear():
            entry.future.cancel()
        await self._supervisor.close(CLOSE_SECONDS)

    def worker_idle(self) -> None:
        """Give a new worker its first tasks; see `Crew`."""
        self._dispatch()

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        """Settle a task and give its worker the next; see `Crew`."""
        self._dispatch()
        error = error_of(reply, lambda: operations_of(entry.task, self._memory))
        self._settle(entry, error or reply.seconds)
        self._let_go(entry)

    def worker_died(self, entries: list[Entry], death: Death) -> None:
        """Queue a dead worker's tasks again, or fail the one that keeps killing; see `Crew`."""
        if death.suspect is not None:
            death.suspect.causes.append(death.cause)
            death.suspect.strikes += not death.is_foreign
        for entry in reversed(entries):
            if self._is_closed or entry.job in self._waiters:
                entry.future.cancel()
            elif entry.strikes >= self._max_attempts or len(entry.causes) >= MAX_LOSSES:
                self._settle(entry, self._poisonous(entry))
            elif not entry.future.done():
                entry.generation += 1
                entry.payload = encode(Request(entry.task_id, entry.generation, entry.task))
                self._turns.push_front(entry)
            self._let_go(entry)
        self._dispatch()

    def workers_failed(self, error: EngineStartError) -> None:
        """Fail everything that waits for workers which do not come; see `Crew`."""
        for entry in self._turns.clear():
            self._settle(entry, error)

    def _dispatch(self) -> None:
        """Send queued tasks while a worker has room, to the one that holds fewest."""
        if not self._turns:
            return
        links = [link for link in self._supervisor.links if len(link.entries) < self._in_flight]
        while links:
            entry = self._turns.pop()
            if entry is None:
                return
            link = min(links, key=lambda link: len(link.entries))
            self._held[entry.job] = self._held.get(entry.job, 0) + 1
            link.send(entry)
            if len(link.entries) >= self._in_flight:
                links.remove(link)

    def _settle(self, entry: Entry, result: float | ArraymillError) -> None:
        if entry.future.done():
            return
        if isinstance(result, ArraymillError):
            entry.future.set_exception(result)
        else:
            entry.future.set_result(result)

    def _let_go(self, entry: Entry) -> None:
        """No worker touches the memory of this task any more."""
        left = self._held[entry.job] - 1
        if left:
            self._held[entry.job] = left
            return
        del self._held[entry.job]
        for waiter in self._waiters.pop(entry.job, []):
            if not waiter.done():
                waiter.set_result(None)

    def _poisonous(self, entry: Entry) -> WorkerError:
        operation = operations_of(entry.task, self._memory)
        causes = "; ".join(f"{times} × {cause}" for cause, times in Counter(entry.causes).items())
        hint = next((text for word, text in _HINTS.items() if word in causes), "The server's log may tell more")
        return WorkerError(
            f"{operation}: {len(entry.causes)} workers did not survive a block of the job, so it is not tried again; "
            f"how they ended: {causes}. {hint}",
            operation=operation,
            attempts=len(entry.causes),
        )


def _too_long(length: int) -> TooLargeError:
    return TooLargeError(
        f"a block of the job reads too many arrays at once: its task takes {length:,} bytes, and a message holds "
        f"{REQUEST_BYTES:,}; split the expression",
        limit_bytes=REQUEST_BYTES,
    )
