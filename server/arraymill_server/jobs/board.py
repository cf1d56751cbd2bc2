"""The board of submitted jobs: they go on without their clients, who come back for them by id or by key.

Theory of operation. A submitted job runs in a task of its own, as any other job, but keeps the value of every output as
a resident array, which its client reads like any other. `life` says what may happen to it; `storage` remembers it.
What is wrong with a job when it comes is told to whoever submits it, and nothing is remembered: from its place in the
queue on, everything that happens is its outcome.

A key names at most one job that has not failed. Whoever submits the same graph under it gets that job: so a client that
does not know whether its request has arrived sends it again.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final

from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    DeadlineError,
    InvalidJobError,
    JobCancelledError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    ParameterError,
)
from arraymill_proto.limits import MAX_KEY_CHARS, MAX_PRIORITY, shorten
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.life import Event, Life, State
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs, Keep, Request
from arraymill_server.jobs.storage import MemoryStorage, Storage
from arraymill_server.jobs.submitted import Feed, Submission, SubmittedJob

MAX_ENDED: Final = 10_000
"""Jobs that have ended and are remembered: some 2 KB each. The oldest are forgotten first."""

ENDED_SECONDS: Final = 86400.0
"""Time for which a job that has ended is remembered, at least as long as results usually stay."""

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

RETRY_SECONDS: Final = 1.0
"""What a client with too many jobs is told to wait."""

_OUTCOMES: Final = {
    State.QUEUED: "is queued",
    State.RUNNING: "is running",
    State.STOPPING: "is stopping",
    State.SUCCEEDED: "has succeeded",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
    State.EXPIRED: "had succeeded, and its results are gone",
}
"""What is said of a job in each state."""

_KEY: Final = re.compile(r"[!-~]+")


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
        self._jobs = jobs
        self._admission = admission
        self._residents = residents
        self._declare = declare
        self._max_per_client = max_per_client
        self._storage = storage or MemoryStorage()
        self._clock = clock
        self._made = 0
        self._live: dict[str, SubmittedJob] = {}
        self._per_client: Counter[str] = Counter()
        self._ended: dict[str, SubmittedJob] = {}
        """Those that have ended and are remembered, the oldest first."""

    def __repr__(self) -> str:
        return f"<Board {len(self._live)} live, {len(self._ended)} ended>"

    # ------------------------------------------------------------------ clients

    async def submit(self, submission: Submission, feed: Callable[[], Feed]) -> SubmittedJob:
        """Put a job into the queue, or return the one that has its key.

        Args:
            submission: The job.
            feed: Makes its exchange.

        Raises:
            ArraymillError: Something is wrong with the job, or there is no place for it.
        """
        _check(submission)
        self._forget_old()
        job = self._known(submission)
        if job is None:
            self._check_share(submission.client)
            job = self._make(submission, feed())
        await asyncio.sleep(0)  # its task plans it now, and takes its place in the queue
        if job.error is not None and not job.life.has_been(Event.ADMIT, Event.CANCEL):
            self._forget(job)
            raise job.error
        return job

    def get(self, id: str) -> SubmittedJob:
        """Return a job.

        Raises:
            JobNotFoundError: There is none of this id.
        """
        job = self._storage.get(id)
        if job is None:
            raise JobNotFoundError(
                f"no submitted job {shorten(id)!r}: never submitted to this server, deleted, or ended long ago",
                job=shorten(id),
            )
        self._look(job)
        return job

    async def wait(self, id: str, seconds: float) -> SubmittedJob:
        """Return a job when it has ended or some seconds are over.

        Raises:
            JobNotFoundError: There is none of this id.
        """
        job = self.get(id)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await job.over.wait()
        self._look(job)
        return job

    async def cancel(self, id: str) -> SubmittedJob:
        """Stop a job; returns when its memory is free.

        Raises:
            JobNotFoundError: There is none of this id.
            JobEndedError: It has ended already.
        """
        job = self.get(id)
        if job.state.has_ended:
            raise JobEndedError(f"job {id} has ended already: it {_OUTCOMES[job.state]}", job=id, state=job.state.name)
        self._stop(job)
        await job.over.wait()
        return job

    def delete(self, id: str) -> None:
        """Forget a job that has ended, and delete its results.

        Raises:
            JobNotFoundError: There is none of this id.
            InvalidJobError: It has not ended.
        """
        job = self.get(id)
        if not job.over.is_set():
            raise InvalidJobError(f"job {id} {_OUTCOMES[job.state]}; cancel it first", job=id)
        self._delete_results(job)
        self._forget(job)

    def page(self, size: int = 0, token: str = "") -> tuple[list[SubmittedJob], str]:
        """Return a page of jobs, oldest first, and the token of the next page (empty after the last).

        Args:
            size: Jobs; 0: 100; at most 1,000.
            token: From the page before; empty: the first page.

        Raises:
            ParameterError: The token is none of ours.
        """
        if not re.fullmatch(r"[0-9a-f]{0,16}", token):
            raise ParameterError(f"page_token {shorten(token)!r} is none of this server's")
        size = min(size or DEFAULT_PAGE, MAX_PAGE)
        found = self._storage.after(int(token or "0", 16), size + 1)
        for job in found:
            self._look(job)
        page = found[:size]
        return page, f"{page[-1].number:x}" if len(found) > size else ""

    def position(self, job: SubmittedJob) -> int:
        """Return how many jobs stand before one that is queued."""
        return self._admission.position_of(f"job {job.id}") or 0

    def age_seconds(self, job: SubmittedJob) -> float:
        """Return the seconds since a job was submitted."""
        return self._clock() - job.submitted

    # ------------------------------------------------------------------ the end

    async def drain(self) -> None:
        """Return when no job waits or runs."""
        while self._live:
            await next(iter(self._live.values())).over.wait()

    async def close(self) -> None:
        """Stop all jobs and wait for their ends."""
        tasks = [job.task for job in self._live.values() if job.task is not None]
        for job in list(self._live.values()):
            self._stop(job)
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ inside

    def _known(self, submission: Submission) -> SubmittedJob | None:
        job = self._storage.with_key(submission.key) if submission.key else None
        if job is None:
            return None
        self._look(job)
        if job.state in (State.FAILED, State.CANCELLED, State.EXPIRED):
            return None
        if job.submission.digest != submission.digest:
            raise JobKeyError(
                f"the key {submission.key!r} is that of job {job.id}, which computes another expression and "
                f"{_OUTCOMES[job.state]}; choose another key, or delete that job",
                key=submission.key,
                job=job.id,
            )
        return job

    def _check_share(self, client: str) -> None:
        count = self._per_client[client]
        if count >= self._max_per_client:
            error = BusyError(
                f"this client has {count:,} submitted jobs that have not ended, as many as it may "
                f"(--max-client-jobs {self._max_per_client}); try again in {RETRY_SECONDS:g} s",
                jobs=count,
                limit=self._max_per_client,
            )
            error.retry_after = RETRY_SECONDS
            raise error

    def _make(self, submission: Submission, feed: Feed) -> SubmittedJob:
        self._made += 1
        id, now = secrets.token_hex(8), self._clock()
        job = SubmittedJob(id, self._made, submission, now, feed, Life(id, now))
        feed.on_start = lambda: self._note(job, Event.ADMIT)
        self._storage.add(job)
        for event in job.life.story:
            self._storage.note(event)
        self._live[id] = job
        self._per_client[submission.client] += 1
        job.task = asyncio.ensure_future(self._run(job))
        feed.stalled.add_done_callback(partial(_stalled, job.task))
        return job

    async def _run(self, job: SubmittedJob) -> None:
        """Run a job to its end, whatever that is."""
        submission = job.submission
        keep = Keep(ttl_seconds=submission.ttl_seconds or None)
        request = Request(submission.graph, submission.client, keep, priority=submission.priority, job_id=job.id)
        try:
            async with asyncio.timeout(submission.deadline_seconds or None):
                job.report = await self._jobs.run(request, job.feed)
            self._note(job, Event.SUCCEED)
        except asyncio.CancelledError:
            self._cancelled(job)
        except TimeoutError as exc:
            self._fail(job, exc if isinstance(exc, ArraymillError) else _late(job))
        except Exception as exc:
            self._fail(job, self._declare(exc))
        finally:
            job.feed.end()
            self._settle(job)

    def _cancelled(self, job: SubmittedJob) -> None:
        stalled = job.feed.stalled
        if job.state is not State.STOPPING and stalled.done() and isinstance(error := stalled.exception(), Exception):
            self._fail(job, self._declare(error))
            return
        if job.state is not State.STOPPING:
            self._note(job, Event.CANCEL, "with the server")
        job.error = JobCancelledError(f"job {job.id} was cancelled", job=job.id)
        self._note(job, Event.STOP)

    def _fail(self, job: SubmittedJob, error: ArraymillError) -> None:
        job.error = error
        self._note(job, Event.FAIL, error.reason)

    def _settle(self, job: SubmittedJob) -> None:
        """Book a job out that has ended."""
        if job.state is State.CANCELLED:
            self._delete_results(job)
        job.ended = self._clock()
        del self._live[job.id]
        self._ended[job.id] = job
        self._per_client[job.submission.client] -= 1
        if not self._per_client[job.submission.client]:
            del self._per_client[job.submission.client]
        job.over.set()

    def _stop(self, job: SubmittedJob) -> None:
        self._note(job, Event.CANCEL)
        if job.task is not None:
            job.task.cancel()

    def _note(self, job: SubmittedJob, event: Event, detail: str = "") -> None:
        self._storage.note(job.life.on(event, self._clock(), detail))

    def _look(self, job: SubmittedJob) -> None:
        """Notice that results are gone."""
        if job.state is State.SUCCEEDED and any(array.is_deleted for array in job.results):
            self._delete_results(job)
            self._note(job, Event.EXPIRE)

    def _delete_results(self, job: SubmittedJob) -> None:
        for array in job.report.arrays if job.report is not None else ():
            with suppress(ArrayNotFoundError):
                self._residents.delete(array.id)

    def _forget(self, job: SubmittedJob) -> None:
        self._ended.pop(job.id, None)
        self._storage.remove(job)

    def _forget_old(self) -> None:
        """Forget the jobs that ended long ago, and those for which there is no room; their results stay."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if len(self._ended) <= MAX_ENDED and self._clock() - oldest.ended <= ENDED_SECONDS:
                return
            self._forget(oldest)


def _stalled(task: asyncio.Task[None], stalled: asyncio.Future[None]) -> None:
    """End a job for which nobody brings what it waits for."""
    if not stalled.cancelled():
        task.cancel()


def _check(submission: Submission) -> None:
    key, deadline = submission.key, submission.deadline_seconds
    if len(key) > MAX_KEY_CHARS:
        raise ParameterError(
            f"the key has {len(key):,} characters, at most {MAX_KEY_CHARS} are allowed", parameter="key"
        )
    if key and not _KEY.fullmatch(key):
        raise ParameterError(f"the key {shorten(key)!r} may have visible ASCII characters only", parameter="key")
    if submission.priority > MAX_PRIORITY:
        raise ParameterError(
            f"the priority is {submission.priority}, it must be 0 to {MAX_PRIORITY}", parameter="priority"
        )
    if not 0 <= deadline < float("inf"):
        raise ParameterError(
            f"the deadline is in {deadline:g} s; give seconds above 0, or 0 for none", parameter="deadline"
        )


def _late(job: SubmittedJob) -> DeadlineError:
    seconds = job.submission.deadline_seconds
    return DeadlineError(
        f"job {job.id} had not ended after {seconds:g} s, its deadline", deadline_seconds=f"{seconds:g}"
    )
