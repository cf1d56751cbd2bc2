"""Which of the jobs that have ended is forgotten next, when there are too many or it ended long ago.

There are jobs whose results are still there, and others, of which only how they ended is to be known. Neither may push
out all of the other: when there are too many, one of the kind that has more than half is forgotten. Within a kind
clients share: whoever has most loses its oldest, so a client that submits very many jobs pushes out its own.
"""

from __future__ import annotations

from collections.abc import Callable

from arraymill_server.jobs.submitted import SubmittedJob


class Ends:
    """The jobs that have ended and are remembered.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._useful = _Shared()
        self._spent = _Shared()
        """They have no results, or none any more."""
        self._since: dict[SubmittedJob, float] = {}
        """When spent jobs became so, the oldest first."""

    def __repr__(self) -> str:
        return f"<Ends of {len(self)} jobs, {len(self._useful)} with results>"

    def __len__(self) -> int:
        return len(self._useful) + len(self._spent)

    def add(self, job: SubmittedJob) -> None:
        """Note a job that has ended."""
        if job.results:
            self._useful.add(job)
        else:
            self._add_spent(job)

    def spend(self, job: SubmittedJob) -> None:
        """Note that the results of a job are gone."""
        self._useful.discard(job)
        self._add_spent(job)

    def discard(self, job: SubmittedJob) -> None:
        """Note that a job is forgotten. Safe to call twice."""
        self._useful.discard(job)
        self._spent.discard(job)
        self._since.pop(job, None)

    def next_to_forget(self, limit: int, seconds: float) -> SubmittedJob | None:
        """Return a job that is to be forgotten, if there is one.

        Args:
            limit: Jobs that may be remembered.
            seconds: For which those without results may be.
        """
        oldest = next(iter(self._since), None)
        if oldest is not None and self._clock() - self._since[oldest] > seconds:
            return oldest
        if len(self) <= limit:
            return None
        return (self._useful if len(self._useful) > len(self._spent) else self._spent).next()

    def _add_spent(self, job: SubmittedJob) -> None:
        self._spent.add(job)
        self._since[job] = self._clock()


class _Shared:
    """Jobs of one kind, that clients share."""

    def __init__(self) -> None:
        self._by_client: dict[str, dict[SubmittedJob, None]] = {}
        """None of them empty, the oldest job first."""
        self._by_count: dict[int, dict[str, None]] = {}
        """Clients by the number of their jobs; of equals, who has had so many for the longest time comes first."""
        self._most = 0
        """The largest of these numbers."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: SubmittedJob) -> None:
        own = self._by_client.setdefault(job.submission.client, {})
        own[job] = None
        self._recount(job.submission.client, len(own) - 1, len(own))

    def discard(self, job: SubmittedJob) -> None:
        client = job.submission.client
        own = self._by_client.get(client, {})
        if job not in own:
            return
        del own[job]
        self._recount(client, len(own) + 1, len(own))
        if not own:
            del self._by_client[client]

    def next(self) -> SubmittedJob:
        """Return the oldest job of the client that has most; there must be one."""
        client = next(iter(self._by_count[self._most]))
        return next(iter(self._by_client[client]))

    def _recount(self, client: str, before: int, after: int) -> None:
        self._count += after - before
        if before:
            del self._by_count[before][client]
            if not self._by_count[before]:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[client] = None
        if after > self._most or self._most not in self._by_count:
            self._most = after
