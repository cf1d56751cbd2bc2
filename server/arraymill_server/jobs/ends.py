"""Which of the jobs that have ended is forgotten next, when there are too many or it ended long ago.

Clients share what can be remembered: whoever has most loses one, so a client that submits very many jobs only ever
pushes out its own. Of a client's jobs, those whose results are still there go last: who would come for the others finds
nothing but how they ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from arraymill_server.jobs.submitted import SubmittedJob


@dataclass(slots=True)
class _Own:
    """The jobs of one client, the oldest end first."""

    spent: dict[SubmittedJob, None] = field(default_factory=dict[SubmittedJob, None])
    """They have no results, or none any more."""
    useful: dict[SubmittedJob, None] = field(default_factory=dict[SubmittedJob, None])

    def __len__(self) -> int:
        return len(self.spent) + len(self.useful)


class Ends:
    """The jobs that have ended and are remembered.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._own: dict[str, _Own] = {}
        """By client."""
        self._by_count: dict[int, dict[str, None]] = {}
        """Clients by the number of their jobs; of equals, who has had so many for the longest time comes first."""
        self._most = 0
        """The largest of these numbers."""
        self._spent: dict[SubmittedJob, float] = {}
        """Since when jobs have had no results, the oldest first."""
        self._count = 0

    def __repr__(self) -> str:
        return f"<Ends of {self._count} jobs of {len(self._own)} clients>"

    def __len__(self) -> int:
        return self._count

    def add(self, job: SubmittedJob) -> None:
        """A job has ended."""
        own = self._own.setdefault(job.submission.client, _Own())
        self._recount(job, len(own), len(own) + 1)
        if job.results:
            own.useful[job] = None
        else:
            own.spent[job] = None
            self._spent[job] = self._clock()

    def spend(self, job: SubmittedJob) -> None:
        """The results of a job are gone."""
        own = self._own[job.submission.client]
        del own.useful[job]
        own.spent[job] = None
        self._spent[job] = self._clock()

    def discard(self, job: SubmittedJob) -> None:
        """A job is forgotten."""
        own = self._own.get(job.submission.client)
        if own is None or not (job in own.spent or job in own.useful):
            return
        self._recount(job, len(own), len(own) - 1)
        own.spent.pop(job, None)
        own.useful.pop(job, None)
        self._spent.pop(job, None)
        if not own:
            del self._own[job.submission.client]

    def next_to_forget(self, limit: int, seconds: float) -> SubmittedJob | None:
        """Return a job that is to be forgotten, if there is one.

        Args:
            limit: Jobs that may be remembered.
            seconds: For which those without results may be.
        """
        oldest = next(iter(self._spent), None)
        if oldest is not None and self._clock() - self._spent[oldest] > seconds:
            return oldest
        if self._count <= limit:
            return None
        own = self._own[next(iter(self._by_count[self._most]))]
        return next(chain(own.spent, own.useful))

    def _recount(self, job: SubmittedJob, before: int, after: int) -> None:
        client = job.submission.client
        self._count += after - before
        if before:
            del self._by_count[before][client]
            if not self._by_count[before]:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[client] = None
        if after > self._most or self._most not in self._by_count:
            self._most = after
