"""Tasks that wait for a worker, in the order in which they get one: jobs take turns, a job's tasks keep their order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from arraymill_server.engine.cost import Size, size_of
from arraymill_server.engine.death import STRIKES, Death
from arraymill_server.plan.program import Task


@dataclass(eq=False, slots=True)
class Entry:
    """One submitted task."""

    task_id: int
    job: str
    task: Task
    future: asyncio.Future[float]
    payload: bytes
    """The request of this generation, encoded."""
    generation: int = 1
    size: Size = field(init=False)
    expected_seconds: float = 0.0
    """What it will take; known when a worker has got it."""
    limit_seconds: float = 0.0
    """What it may take; known when a worker has got it."""
    deaths: tuple[Death, ...] = ()
    """How each worker ended that died running it, unless the server itself meant it to."""
    seats: frozenset[int] = frozenset()
    """The seats of those workers of whose end it may be the reason."""
    is_solo: bool = False
    """Its last attempt: no other task on its worker."""
    is_fenced: bool = False
    """Its worker cannot be killed."""

    def __post_init__(self) -> None:
        self.size = size_of(self.task)

    @property
    def strikes(self) -> int:
        """How many of the deaths it may be the reason of."""
        return sum(death.ending in STRIKES for death in self.deaths)


class Turns:
    """The queue of an engine. Not bounded: the jobs layer hands out no more tasks than it has leased memory for."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Entry]] = {}
        self._ring: deque[str] = deque()
        self._length = 0

    def __len__(self) -> int:
        """Entries that wait, cancelled ones among them until their turn comes."""
        return self._length

    def push(self, entry: Entry) -> None:
        """Queue an entry behind its job's others."""
        self._queue(entry.job).append(entry)
        self._length += 1

    def push_front(self, entry: Entry) -> None:
        """Queue an entry before its job's others: it had its turn and lost it with its worker."""
        self._queue(entry.job).appendleft(entry)
        self._length += 1

    def pop(self) -> Entry | None:
        """Take the next entry of the job whose turn it is; cancelled ones are dropped on the way."""
        while self._ring:
            job = self._ring.popleft()
            queue = self._queues[job]
            entry = queue.popleft()
            self._length -= 1
            if queue:
                self._ring.append(job)
            else:
                del self._queues[job]
            if not entry.future.cancelled():
                return entry
        return None

    def drop(self, job: str) -> list[Entry]:
        """Take all entries of a job."""
        if job not in self._queues:
            return []
        self._ring.remove(job)
        entries = list(self._queues.pop(job))
        self._length -= len(entries)
        return entries

    def clear(self) -> list[Entry]:
        """Take everything."""
        return [entry for job in list(self._queues) for entry in self.drop(job)]

    def _queue(self, job: str) -> deque[Entry]:
        queue = self._queues.get(job)
        if queue is None:
            queue = self._queues[job] = deque()
            self._ring.append(job)
        return queue
