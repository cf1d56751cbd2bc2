"""The board of submitted jobs: they go on without their clients, who come back for them by id or by key.

Theory of operation. A submitted job runs in a task of its own, as any other job, but keeps the value of every output as
a resident array, which its client reads like any other. `life` says what may happen to it, `ledger` writes it down.
What is wrong with a job when it comes is told to whoever submits it, and nothing is remembered: from its place in the
queue on, everything that happens is its outcome.

A key names at most one job that has not failed. Whoever submits the same graph under it gets that job: so a client that
does not know whether its request has arrived sends it again.

Turns. A task takes its first step in the turn of the loop after the one that made it: in that step the job is planned
and takes its place, or is refused. Whoever submits waits for that turn. Nobody ends a task before it: a task that is
cancelled before its first step never runs at all, not even its end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from arraymill_proto.errors import (
    ArraymillError,
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    InvalidJobError,
    JobCancelledError,
    JobEndedError,
    Reason,
)
from arraymill_proto.graph import Graph
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.ledger import OUTCOMES, Ledger
from arraymill_server.jobs.life import Event, State
from arraymill_server.jobs.request import Keep, Report, Request
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.jobs.storage import MemoryStorage, Storage
from arraymill_server.jobs.submitted import Feed, Submission, SubmittedJob
from arraymill_server.jobs.watches import Watches

RETRY_SECONDS: Final = 1.0
"""What a client with too many jobs is told to wait."""


class Board:
    """All submitted jobs of a server. Make it in a running event loop.

    Args:
        jobs: Runs them.
        admission: Tells places in the queue.
        residents: Holds their results.
        declare: Turns any exception into one that clients may see.
        max_per_client: Jobs of one client that may wait or run.
        storage: Remembers them; None: in this process.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        jobs: Jobs,
        admission: Admission,
        residents: Residents,
        *,
        declare: Callable[[Exception], ArraymillError],
        max_per_client: int,
        storage: Storage | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.jobs = jobs
        """What runs them."""
        self._admission = admission
        self._declare = declare
        self._max_per_client = max_per_client
        self._is_closed = False
        self._live: dict[SubmittedJob, asyncio.Task[None]] = {}
        self._per_client: Counter[str] = Counter()
        self.ledger = Ledger(residents, storage or MemoryStorage(), clock)
        """What is known of the jobs."""
        self.watches = Watches(admission)
        """Who watches them."""
        self.ledger.on_note = self.watches.changed
        self.on_end: Callable[[SubmittedJob], None] = lambda job: None
        """Called when a job has ended that was not refused."""

    def __repr__(self) -> str:
        return f"<Board {len(self._live)} live, {self.ledger!r}>"

    async def submit(self, graph: Graph, submission: Submission, feed: Callable[[], Feed]) -> SubmittedJob:
        """Put a job into the queue, or return the one that has its key.

        Cancelling it leaves the job in the queue.

        Args:
            graph: What is computed.
            submission: All else about the job.
            feed: Makes its exchange.

        Raises:
            ArraymillError: Something is wrong with the job, or there is no place for it.
        """
        job = await self.join(submission)
        if job is None:
            job = self._make(graph, submission, feed())
            await asyncio.sleep(0)
            if job.is_refused:
                raise job.failure()
        return job

    async def join(self, submission: Submission) -> SubmittedJob | None:
        """Return the job that has the key of a submission; None: a job may be made, in this turn of the loop.

        Raises:
            ArraymillError: Something is wrong with the submission, or there is no place for another job.
        """
        submission.check()
        while True:
            self._check_open()
            job = self.ledger.joined(submission)
            if job is None:
                self._check_share(submission.client)
                return None
            await asyncio.sleep(0)
            if not job.is_refused:
                return job

    async def wait(self, job: SubmittedJob, seconds: float | None = None) -> None:
        """Return when a job has ended, and holds no memory but its results, or some seconds are over."""
        task = self._live.get(job)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)

    async def cancel(self, id: str) -> SubmittedJob:
        """Stop a job; returns when its memory is free. Cancelling the wait stops the job all the same.

        One that was cancelled already is returned as it is: of several who cancel it, none is told of a failure.

        Raises:
            JobNotFoundError: There is none of this id.
            JobEndedError: It has succeeded or failed already.
        """
        job = self.ledger.get(id)
        if job.state is State.CANCELLED:
            return job
        if job.state.has_ended:
            raise JobEndedError(f"job {id} has ended already: it {OUTCOMES[job.state]}", job=id, state=job.state.name)
        self._stop(job)
        await self.wait(job)
        return job

    def delete(self, id: str) -> None:
        """Forget a job that has ended, and delete its results.

        Raises:
            JobNotFoundError: There is none of this id.
            InvalidJobError: It has not ended.
        """
        job = self.ledger.get(id)
        if not job.state.has_ended:
            raise InvalidJobError(f"job {id} {OUTCOMES[job.state]}; cancel it first", job=id, state=job.state.name)
        self.ledger.forget(job)

    def position(self, job: SubmittedJob) -> int:
        """Return how many jobs stand before one that is queued."""
        return self._admission.position_of(job.owner) or 0

    def lack(self, job: SubmittedJob) -> tuple[int, int]:
        """Return the bytes that a queued job waits for, and those that are free."""
        return self._admission.needed_bytes(job.owner), self._admission.free_bytes

    async def close(self) -> None:
        """Take no job any more, stop all and wait for their ends."""
        self._is_closed = True
        for job in list(self._live):
            self._stop(job)
        if self._live:
            await asyncio.wait(self._live.values())

    # ------------------------------------------------------------------ coming

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)

    def _check_share(self, client: str) -> None:
        count = self._per_client[client]
        if count >= self._max_per_client:
            raise BusyError(
                f"this client has {count:,} submitted jobs that have not ended, as many as it may "
                f"(--max-client-jobs {self._max_per_client}); try again in {RETRY_SECONDS:g} s",
                retry_after=RETRY_SECONDS,
                jobs=count,
                limit=self._max_per_client,
            )

    def _make(self, graph: Graph, submission: Submission, feed: Feed) -> SubmittedJob:
        job = self.ledger.enter(submission, feed)
        feed.on_start = partial(self.ledger.note, job, Event.ADMIT)
        feed.on_progress = partial(self.watches.progressed, job)
        self._per_client[submission.client] += 1
        task = self._live[job] = asyncio.ensure_future(self._run(job, graph, feed))
        asyncio.get_running_loop().call_soon(self._judge, job)  # runs after the first step of the task
        task.add_done_callback(lambda _: self._over(job))
        feed.stalled.add_done_callback(partial(_stalled, task))
        return job

    def _over(self, job: SubmittedJob) -> None:
        """Tell of a job that has ended; whether it was refused is judged by now."""
        if not job.is_refused:
            self.on_end(job)

    def _judge(self, job: SubmittedJob) -> None:
        """Forget a job that its first step has refused."""
        if job.state is State.FAILED:
            job.is_refused = True
            self.ledger.forget(job)

    # ------------------------------------------------------------------ running

    async def _run(self, job: SubmittedJob, graph: Graph, feed: Feed) -> None:
        """Run a job to its end, whatever that is."""
        terms = job.submission
        keep = Keep(ttl_seconds=terms.ttl_seconds or None, is_patient=True)
        request = Request(graph, terms.client, keep, priority=terms.priority, job_id=job.id)
        deadline = asyncio.timeout(terms.deadline_seconds or None)
        try:
            async with deadline:
                job.report = await self.jobs.run(request, feed)
            self.ledger.note(job, Event.SUCCEED)
        except asyncio.CancelledError:
            self._cancelled(job, feed)
        except Exception as exc:
            is_late = isinstance(exc, TimeoutError) and deadline.expired()
            self._fail(job, _late(job) if is_late else self._declare(exc))
        finally:
            self._settle(job, feed, request)

    def _cancelled(self, job: SubmittedJob, feed: Feed) -> None:
        if job.state is not State.STOPPING:
            if feed.stalled.done() and isinstance(error := feed.stalled.exception(), ArraymillError):
                self._fail(job, error)
                return
            self.ledger.note(job, Event.CANCEL, "with the server")
        self.ledger.note(job, Event.STOP)

    def _fail(self, job: SubmittedJob, error: ArraymillError) -> None:
        job.error = error.located("")  # a copy: what was raised holds all that its frames held, for as long as it lives
        self.ledger.note(job, Event.FAIL, error.reason)

    def _settle(self, job: SubmittedJob, feed: Feed, request: Request) -> None:
        """Book a job out that has ended, and let go of all that is not needed any more."""
        feed.end()
        job.figures_at_end, job.feed = feed.figures, None
        if job.report is None:
            job.report = Report(job.id, request.times, feed.received_bytes, blocks=job.figures.blocks)
        if job.state is State.CANCELLED:
            job.error = JobCancelledError(f"job {job.id} was cancelled", job=job.id)
            self.ledger.delete_results(job)
        self.ledger.close(job)
        client = job.submission.client
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]
        del self._live[job]

    def _stop(self, job: SubmittedJob) -> None:
        """Begin the end of a job that has not ended."""
        if job.state is not State.STOPPING:
            self.ledger.note(job, Event.CANCEL)
            asyncio.get_running_loop().call_soon(self._live[job].cancel)  # not before the first step of the task


def _stalled(task: asyncio.Task[None], stalled: asyncio.Future[None]) -> None:
    """End a job for which nobody brings what it waits for."""
    if not stalled.cancelled():
        task.cancel()


def _late(job: SubmittedJob) -> DeadlineError:
    seconds = job.submission.deadline_seconds
    waited = ": it still waited for memory" if job.state is State.QUEUED else ""
    return DeadlineError(
        f"job {job.id} had not ended after {seconds:g} s, its deadline{waited}", deadline_seconds=f"{seconds:g}"
    )
