"""Which jobs' memory workers may touch, and who waits until they do no more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from arraymill_server.engine.base import Fence


@dataclass(slots=True)
class _Hold:
    """The tasks of one job that workers hold."""

    tasks: int = 0
    fenced: int = 0
    """Those among them whose worker cannot be killed."""
    is_ending: bool = False
    """The job has ended: its tasks are not to be run again."""
    waiters: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    fence: Fence | None = None


class Holds:
    """Counts the tasks that workers hold, by job."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Hold] = {}

    def __len__(self) -> int:
        """Jobs whose memory a worker may touch."""
        return len(self._jobs)

    def take(self, job: str) -> None:
        """A worker has got a task of the job."""
        hold = self._jobs.get(job)
        if hold is None:
            hold = self._jobs[job] = _Hold()
        hold.tasks += 1

    def give(self, job: str, *, was_fenced: bool = False) -> None:
        """A worker touches the memory of one task no more."""
        hold = self._jobs[job]
        hold.tasks -= 1
        hold.fenced -= was_fenced
        self._tell(hold)
        if not hold.tasks:
            del self._jobs[job]
            if hold.fence is not None and not hold.fence.done():
                hold.fence.set_result(None)

    def fence(self, job: str) -> None:
        """The worker of one of the tasks cannot be killed."""
        hold = self._jobs[job]
        hold.fenced += 1
        self._tell(hold)

    def end(self, job: str) -> bool:
        """Note that the job has ended; False when no worker holds a task of it."""
        hold = self._jobs.get(job)
        if hold is None:
            return False
        hold.is_ending = True
        return True

    def is_ending(self, job: str) -> bool:
        """Tell whether the job, of which a worker holds a task, has ended."""
        return self._jobs[job].is_ending

    async def settled(self, job: str) -> None:
        """Wait until nobody but workers that cannot be killed holds a task of the job."""
        hold = self._jobs.get(job)
        if hold is None or hold.tasks == hold.fenced:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        hold.waiters.append(waiter)
        await waiter

    def fence_of(self, job: str) -> Fence | None:
        """Return what is done when the last worker that cannot be killed has ended; None when none holds a task."""
        hold = self._jobs.get(job)
        if hold is None:
            return None
        if hold.fence is None:
            hold.fence = asyncio.get_running_loop().create_future()
        return hold.fence

    @staticmethod
    def _tell(hold: _Hold) -> None:
        if hold.tasks > hold.fenced:
            return
        for waiter in hold.waiters:
            if not waiter.done():
                waiter.set_result(None)
        hold.waiters.clear()
