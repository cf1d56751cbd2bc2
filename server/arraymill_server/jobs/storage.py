"""Where submitted jobs are remembered: the one boundary that a durable store would stand behind.

`MemoryStorage` forgets with the server. A store that outlives it would write the journal ahead of each answer. Besides
these methods it needs the request of each job as it came, and one that gives back at start what had not ended: nothing
here would use them, so they are not there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Protocol

from arraymill_server.jobs.life import JobEvent
from arraymill_server.jobs.submitted import SubmittedJob


class Storage(Protocol):
    """Submitted jobs, by id and by key, and the journal of what happened to them."""

    def add(self, job: SubmittedJob) -> None:
        """Remember a job; its key leads to it from now on."""
        ...

    def get(self, id: str) -> SubmittedJob | None: ...

    def with_key(self, key: str) -> SubmittedJob | None:
        """Return the job that was added last with a key."""
        ...

    def remove(self, job: SubmittedJob) -> None:
        """Forget a job."""
        ...

    def after(self, number: int, count: int) -> list[SubmittedJob]:
        """Return some jobs of numbers above one, in the order of their submission."""
        ...

    def note(self, event: JobEvent) -> None:
        """Write one line of the journal."""
        ...


class MemoryStorage:
    """A storage of this process.

    Args:
        journal: Gets every event; for logs and tests.
    """

    def __init__(self, journal: Callable[[JobEvent], None] | None = None) -> None:
        self._jobs: dict[str, SubmittedJob] = {}
        self._keys: dict[str, str] = {}
        self._journal = journal

    def __repr__(self) -> str:
        return f"<MemoryStorage of {len(self._jobs)} jobs>"

    def add(self, job: SubmittedJob) -> None:
        self._jobs[job.id] = job
        if job.key:
            self._keys[job.key] = job.id

    def get(self, id: str) -> SubmittedJob | None:
        return self._jobs.get(id)

    def with_key(self, key: str) -> SubmittedJob | None:
        return self._jobs.get(self._keys.get(key, ""))

    def remove(self, job: SubmittedJob) -> None:
        self._jobs.pop(job.id, None)
        if self._keys.get(job.key) == job.id:
            del self._keys[job.key]

    def after(self, number: int, count: int) -> list[SubmittedJob]:
        return list(islice((job for job in self._jobs.values() if job.number > number), count))

    def note(self, event: JobEvent) -> None:
        if self._journal is not None:
            self._journal(event)
