"""The pool: an engine of worker processes that share the arena.

Theory of operation. Tasks wait in the `Roster`, are sent to the worker that holds fewest, two at a time so that the
next one is there when a worker has done one, and are settled by the reply. `Supervisor` keeps the workers alive, `Link`
is one of them, `Holds` knows which jobs' memory they may touch.

When a worker dies, the task that it was running is the suspect; the one behind it is queued again as if nothing had
been. A task that may be the reason of `max_attempts` deaths fails its job, and only that. A worker that somebody else
has killed is no strike against its task: under a storm of `kill -9` the same task is hit three times soon. Yet there is
an end to that too, MAX_LOSSES. Tasks are pure, so running one again is always right.

A task may take what its cost lets expect (`cost`), the last attempt as long as any task may. A worker that takes longer
is killed. So is one that still runs a task of a job which ended CANCEL_SECONDS ago; that is held against nobody.

A worker that cannot be killed is replaced. The task that it was running fails, since running it again elsewhere would
end with two workers on the same memory; `wait_idle` gives whoever leased that memory a fence.

Everything happens on the event loop's thread; nothing is locked and nothing blocks, except for the 2 ms of starting a
process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count
from math import inf
from typing import Final

from arraymill_proto.errors import ArraymillError, ConnectionFailedError, Reason
from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.arena.segments import Segments
from arraymill_server.cgroup import Machine
from arraymill_server.engine import worker
from arraymill_server.engine.base import EngineStartError, EngineStatus, Fence
from arraymill_server.engine.cost import CostModel
from arraymill_server.engine.death import LOSSES, STRIKES, Death, Ending
from arraymill_server.engine.describe import TaskFacts, facts_of
from arraymill_server.engine.holds import Holds
from arraymill_server.engine.link import Link
from arraymill_server.engine.messages import REQUEST_BYTES, Reply, Request, encode
from arraymill_server.engine.oom import oom_score
from arraymill_server.engine.outcome import error_of, no_workers, poisonous, too_long, unkillable
from arraymill_server.engine.roster import Roster
from arraymill_server.engine.supervisor import Bounds, Supervisor, WorkerMain
from arraymill_server.engine.turns import Entry
from arraymill_server.engine.worker import WorkerSettings
from arraymill_server.plan.program import Task

CLOSE_SECONDS: Final = 2.0
"""Grace of running tasks at `close`. A block takes milliseconds; only a hung one needs more."""

CANCEL_SECONDS: Final = 0.75
"""Grace of the running tasks of a job that has ended. A block takes milliseconds; what takes longer costs its worker,
13 ms, so that memory is back after a second in any case."""

START_SECONDS: Final = 30.0
"""From the start of a worker to its hello. It takes 7 ms, the first one 0.2 s, a swapping machine much longer; see also
`supervisor.FIRST_START_SECONDS`."""

MAX_LOSSES: Final = 20
"""Deaths of its workers, whatever their reason, after which a task fails. With two workers of which a random one is
killed again and again, a task that is always running is hit 20 times in a row once in a million."""

GROWN_SHARE: Final = 2
"""A worker is recycled when it has taken more than its private memory by this: from then on, a block that would run in
a new worker might find too little. The scratch memory of blocks, which stays, is 8 MiB."""


class PoolEngine:
    """Runs tasks in worker processes.

    Args:
        raw: The arena's bytes, shared with every worker.
        workers: Number of processes.
        worker_memory_bytes: Private memory of each worker beyond what it starts with; beyond it a task fails with
            TooLargeError.
        task_timeout_seconds: Most that one task may take; most tasks may take less (see `cost`). The worker that takes
            longer is killed, and the task is tried again.
        worker_tasks: Tasks after which a worker is recycled; 0 for never.
        max_attempts: Deaths of workers that a task may be the reason of before it fails with WorkerError.
        in_flight: Tasks that a worker holds: the one that it runs and those that wait in its pipe.
        start_timeout_seconds: A worker that takes longer to be ready is killed.
        segments: Memory beside the arena, which every worker maps.
        main: What runs in a worker process.
    """

    def __init__(
        self,
        raw: RawBytes,
        workers: int,
        *,
        worker_memory_bytes: int,
        task_timeout_seconds: float,
        worker_tasks: int = 0,
        max_attempts: int = 3,
        in_flight: int = 2,
        start_timeout_seconds: float = START_SECONDS,
        segments: Segments | None = None,
        main: WorkerMain = worker.main,
    ) -> None:
        self._segments = Segments(Memory(attach(raw))) if segments is None else segments
        self._task_timeout = task_timeout_seconds
        self._max_attempts = max_attempts
        self._roster = Roster(in_flight)
        self._costs = CostModel(task_timeout_seconds)
        self._holds = Holds()
        self._task_ids = count(1)
        self._is_closed = False
        self._supervisor = Supervisor(
            self,
            raw,
            workers,
            main=main,
            settings=WorkerSettings(worker_memory_bytes, oom_score(len(raw), Machine.detect().memory_bytes)),
            bounds=Bounds(start_timeout_seconds, worker_tasks or inf, worker_memory_bytes // GROWN_SHARE),
            segments=self._segments,
        )

    def __repr__(self) -> str:
        status = self.status
        idle = status.workers - status.busy
        return f"<PoolEngine {status.workers} workers: {status.busy} busy, {idle} idle | {status.queued} queued>"

    @property
    def status(self) -> EngineStatus:
        """What the pool is doing now."""
        links = self._supervisor.links
        endings = {str(ending): times for ending, times in self._supervisor.endings.items()}
        recycled = endings.pop(Ending.RECYCLED, 0)
        return EngineStatus(
            workers=len(links),
            busy=sum(bool(link.entries) for link in links),
            queued=len(self._roster),
            restarts=sum(endings.values()),
            endings=endings,
            recycled=recycled,
            fenced=self._supervisor.fenced,
        )

    async def start(self) -> None:
        """Start the workers; returns when every one has said hello.

        To be called before any gRPC object exists and before the loop has other work: it starts the fork server, which
        blocks the loop for 0.2 s. Cancelling it ends what was started.

        Raises:
            EngineStartError: Workers end before they are ready.
        """
        await self._supervisor.start()

    def submit(self, job: str, task: Task, *, client: str = "") -> asyncio.Future[float]:
        """Queue one task; see `Engine.submit`."""
        if self._is_closed:
            raise ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)
        task_id = next(self._task_ids)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        payload = encode(Request(task_id, 1, task))
        if len(payload) > REQUEST_BYTES:
            future.set_exception(too_long(len(payload)))
            return future
        self._roster.push(Entry(task_id, job, task, future, payload, client))
        self._dispatch()
        return future

    async def wait_idle(self, job: str, grace_seconds: float = CANCEL_SECONDS) -> Fence | None:
        """End the job's work; see `Engine.wait_idle`.

        Args:
            job: The job.
            grace_seconds: What its running tasks get to end by themselves.
        """
        for entry in self._roster.drop(job):
            entry.future.cancel()
        if not self._holds.end(job):
            return None
        try:
            async with asyncio.timeout(grace_seconds):
                await self._holds.settled(job)
        except TimeoutError:
            self._supervisor.kill_holders(job, Ending.CANCELLED, "ran a task of a job that has ended")
            await self._holds.settled(job)
        return self._holds.fence_of(job)

    async def close(self) -> None:
        """End all workers; see `Engine.close`."""
        self._is_closed = True
        for entry in self._roster.clear():
            entry.future.cancel()
        await self._supervisor.close(CLOSE_SECONDS)

    # ------------------------------------------------------------------ Crew

    def worker_idle(self) -> None:
        """Give a new worker its first tasks; see `Crew`."""
        self._dispatch()

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        """Settle a task and give its worker the next; see `Crew`."""
        self._costs.learn(entry.size, reply.seconds)
        self._dispatch()
        error = error_of(reply, lambda: self._facts(entry))
        self._settle(entry, error or reply.seconds)
        self._holds.give(entry.job)

    def worker_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        """Fail what the worker holds, and queue again what it had not begun; see `Crew`."""
        for entry in link.entries:
            entry.is_fenced = True
            self._settle(entry, unkillable(self._facts(entry), death))
            self._holds.fence(entry.job)
        self._take_back(waiting)
        self._dispatch()

    def worker_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        """Queue a dead worker's tasks again, or fail the one that keeps killing; see `Crew`."""
        if suspect is not None and death.ending in LOSSES:
            suspect.deaths += (death,)
            suspect.is_solo = suspect.strikes == self._max_attempts - 1
            if death.ending in STRIKES:
                suspect.seats |= {link.seat}
        self._take_back(link.entries)
        self._dispatch()

    def workers_failed(self, error: EngineStartError) -> None:
        """Fail everything that waits for workers which do not come; see `Crew`."""
        for entry in self._roster.clear():
            self._settle(entry, error)

    # ------------------------------------------------------------------ tasks

    def _dispatch(self) -> None:
        """Send queued tasks while a worker has room."""
        if not self._roster:
            return
        links = self._supervisor.links
        if not links and self._supervisor.is_stuck:
            self.workers_failed(no_workers(self._supervisor.fenced))
        for link, entry in self._roster.assign(links):
            entry.expected_seconds = self._costs.expect(entry.size)
            entry.limit_seconds = self._task_timeout if entry.is_solo else self._costs.limit(entry.expected_seconds)
            self._holds.take(entry.job)
            link.send(entry)

    def _take_back(self, entries: Iterable[Entry]) -> None:
        """See to the tasks that a worker holds no longer and has not answered."""
        for entry in reversed(list(entries)):
            if self._is_closed or self._holds.is_ending(entry.job):
                entry.future.cancel()
            elif entry.strikes >= self._max_attempts or len(entry.deaths) >= MAX_LOSSES:
                self._settle(entry, poisonous(self._facts(entry), entry.deaths))
            elif not entry.future.done():
                entry.generation += 1
                entry.payload = encode(Request(entry.task_id, entry.generation, entry.task))
                self._roster.push_back(entry)
            self._holds.give(entry.job, was_fenced=entry.is_fenced)

    def _settle(self, entry: Entry, result: float | ArraymillError) -> None:
        if entry.future.done():
            return
        if isinstance(result, ArraymillError):
            entry.future.set_exception(result)
        else:
            entry.future.set_result(result)

    def _facts(self, entry: Entry) -> TaskFacts:
        return facts_of(entry.task, self._segments.space)
