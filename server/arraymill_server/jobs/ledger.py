"""The ledger of submitted jobs: those that have not ended, and for some time those that have, with their results.

It writes down what happens to them, finds them by id and by key, notices that results are gone, and forgets.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from itertools import islice
from typing import Final

from arraymill_proto.errors import JobKeyError, JobNotFoundError, ParameterError
from arraymill_proto.limits import shorten
from arraymill_server.jobs.ends import Ends
from arraymill_server.jobs.life import Event, Life, State
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.storage import Storage
from arraymill_server.jobs.submitted import Feed, Submission, SubmittedJob

MAX_ENDED: Final = 10_000
"""Jobs that have ended and are remembered: some 2 KB each. `ends` tells which are forgotten first."""

ENDED_SECONDS: Final = 86400.0
"""Time for which a job that has ended is remembered without results; one that has some, as long as they are there."""

FORGOTTEN_AT_ONCE: Final = 2
"""Jobs that are forgotten when one comes: more than one, so that they get fewer, and few, because each may have
thousands of results to be deleted, some 15 ms for a thousand."""

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

OUTCOMES: Final = {
    State.QUEUED: "is queued",
    State.RUNNING: "is running",
    State.STOPPING: "is stopping",
    State.SUCCEEDED: "has succeeded",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
    State.EXPIRED: "had succeeded, and its results are gone",
}
"""What is said of a job in each state."""

_FREE: Final = (State.FAILED, State.CANCELLED, State.EXPIRED)
"""Where a job has no right to its key any more."""


class Ledger:
    """What is known of submitted jobs.

    Args:
        residents: Holds their results.
        storage: Remembers them.
        clock: Seconds, monotonic.
    """

    def __init__(self, residents: Residents, storage: Storage, clock: Callable[[], float]) -> None:
        self._residents = residents
        self._storage = storage
        self._clock = clock
        self._made = 0
        self._open: dict[str, SubmittedJob] = {}
        """Those that have not ended, the oldest first."""
        self._ends = Ends(clock)
        self._makers: dict[ResidentArray, SubmittedJob] = {}
        """Of results that are still there."""
        self.on_note: Callable[[SubmittedJob], None] = lambda job: None
        """Called when something has happened to a job."""
        residents.on_delete = self._lost

    def __repr__(self) -> str:
        return f"<Ledger of {self._made} jobs, {len(self._ends)} ended and remembered>"

    # ------------------------------------------------------------------ writing

    def enter(self, submission: Submission, feed: Feed) -> SubmittedJob:
        """Write a new job down; its key leads to it from now on. Older ones are forgotten, if there are too many."""
        self._forget_old()
        self._made += 1
        id, now = secrets.token_hex(8), self._clock()
        job = SubmittedJob(id, self._made, submission, now, feed, Life(id, now))
        self._open[id] = job
        self._storage.add(job)
        for event in job.life.story:
            self._storage.note(event)
        return job

    def note(self, job: SubmittedJob, event: Event, detail: str = "") -> None:
        """Write down what happens to a job.

        Raises:
            LifeError: It cannot happen.
        """
        self._storage.note(job.life.on(event, self._clock(), detail))
        self.on_note(job)

    def close(self, job: SubmittedJob) -> None:
        """A job has ended: remember it for some time."""
        self._open.pop(job.id, None)
        self._ends.add(job)
        self._makers.update(dict.fromkeys(job.results, job))

    def delete_results(self, job: SubmittedJob) -> None:
        """Delete what a job has left behind."""
        if job.report is None:
            return
        arrays, job.report.arrays = job.report.arrays, ()
        for array in dict.fromkeys(arrays):
            self._makers.pop(array, None)
        self._residents.delete_all(arrays)

    def forget(self, job: SubmittedJob) -> None:
        """Forget a job that has ended, and delete its results: nobody could tell any more what they are."""
        self._open.pop(job.id, None)
        self._ends.discard(job)
        self.delete_results(job)
        self._storage.remove(job)

    def _forget_old(self) -> None:
        for _ in range(FORGOTTEN_AT_ONCE):
            job = self._ends.next_to_forget(MAX_ENDED, ENDED_SECONDS)
            if job is None:
                return
            self.forget(job)

    # ------------------------------------------------------------------ reading

    def get(self, id: str) -> SubmittedJob:
        """Return a job.

        Raises:
            JobNotFoundError: There is none of this id.
        """
        job = self._storage.get(id)
        if job is None:
            raise JobNotFoundError(
                f"no submitted job {shorten(id)!r}: never submitted to this server, deleted, or ended long ago; "
                "a server that was started anew knows none of those before",
                job=shorten(id),
            )
        return job

    def joined(self, submission: Submission) -> SubmittedJob | None:
        """Return the job that has the key of a submission, None when the key is free.

        Raises:
            JobKeyError: That job computes something else.
        """
        job = self._storage.with_key(submission.key) if submission.key else None
        if job is None or job.state in _FREE:
            return None
        if job.submission.digest != submission.digest:
            raise JobKeyError(
                f"the key {submission.key!r} is that of job {job.id}, which computes another expression, or with other "
                f"arrays, and {OUTCOMES[job.state]}; choose another key, or delete that job",
                key=submission.key,
                job=job.id,
            )
        return job

    def page(self, size: int = 0, token: str = "", *, is_open_only: bool = False) -> tuple[list[SubmittedJob], str]:
        """Return a page of jobs, oldest first, and the token of the next page (empty after the last).

        Args:
            size: Jobs; 0: 100; at most 1,000.
            token: From the page before; empty: the first page.
            is_open_only: Leave out those that have ended.

        Raises:
            ParameterError: The token is none of ours.
        """
        if not re.fullmatch(r"[0-9a-f]{0,16}", token):
            raise ParameterError(f"page_token {shorten(token)!r} is none that this server gave", parameter="page_token")
        size = min(size or DEFAULT_PAGE, MAX_PAGE)
        first = int(token or "0", 16)
        if is_open_only:
            found = list(islice((job for job in self._open.values() if job.number > first), size + 1))
        else:
            found = self._storage.after(first, size + 1)
        page = found[:size]
        return page, token_of(page[-1]) if len(found) > size else ""

    def _lost(self, array: ResidentArray) -> None:
        """An array is gone: without it the other results of its job are of no use."""
        job = self._makers.pop(array, None)
        if job is not None:
            self.delete_results(job)
            self._ends.spend(job)
            self.note(job, Event.EXPIRE)

    def age_seconds(self, job: SubmittedJob) -> float:
        """Return the seconds since a job was submitted."""
        return self._clock() - job.submitted


def token_of(job: SubmittedJob) -> str:
    """Return the token of the page that begins behind a job."""
    return f"{job.number:x}"
