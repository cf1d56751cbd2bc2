"""Tasks that wait for a worker, in the order in which they get one.

Clients take turns; in a client's turn its jobs do; a job's tasks keep their order. A task is a block, of some MiB at
most, so nobody waits for more than one block of each other client, however many jobs those have.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
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
    client: str = ""
    """Whose job it is."""
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
        self._clients: OrderedDict[str, OrderedDict[str, deque[Entry]]] = OrderedDict()
        """By client and job, none of them empty; whose turn it is stands first."""
        self._client_of: dict[str, str] = {}
        self._length = 0

    def __len__(self) -> int:
        """Entries that wait, cancelled ones among them until their turn comes."""
        return self._length

    def push(self, entry: Entry) -> None:
        """Queue an entry behind its job's others."""
        self._queue(entry).append(entry)

    def push_front(self, entry: Entry) -> None:
        """Queue an entry before its job's others: it had its turn and lost it with its worker."""
        self._queue(entry).appendleft(entry)

    def pop(self) -> Entry | None:
        """Take the next entry of the job whose turn it is; cancelled ones are dropped on the way."""
        while self._clients:
            client, jobs = next(iter(self._clients.items()))
            job, queue = next(iter(jobs.items()))
            self._clients.move_to_end(client)
            jobs.move_to_end(job)
            entry = queue.popleft()
            self._length -= 1
            if not queue:
                self._remove(job)
            if not entry.future.cancelled():
                return entry
        return None

    def drop(self, job: str) -> list[Entry]:
        """Take all entries of a job."""
        if job not in self._client_of:
            return []
        entries = list(self._remove(job))
        self._length -= len(entries)
        return entries

    def clear(self) -> list[Entry]:
        """Take everything."""
        return [entry for job in list(self._client_of) for entry in self.drop(job)]

    def _queue(self, entry: Entry) -> deque[Entry]:
        """Return the queue that an entry is about to join."""
        self._length += 1
        self._client_of[entry.job] = entry.client
        return self._clients.setdefault(entry.client, OrderedDict()).setdefault(entry.job, deque())

    def _remove(self, job: str) -> deque[Entry]:
        client = self._client_of.pop(job)
        jobs = self._clients[client]
        queue = jobs.pop(job)
        if not jobs:
            del self._clients[client]
        return queue
