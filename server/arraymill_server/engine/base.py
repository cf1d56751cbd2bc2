"""The seam between jobs and whatever runs their tasks.

An engine runs tasks: pure functions from extents of the arena to other extents (see `plan.program`). Engines differ in
where tasks run, never in what they compute: all run the same interpreter on the same tasks and give the same bits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from arraymill_proto.errors import InternalError
from arraymill_server.plan.program import Task


class EngineStartError(InternalError):
    """Workers cannot be started here. The operator's; a retry helps once there is memory and room for processes."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What an engine is doing now."""

    workers: int
    """Workers alive."""
    busy: int
    """Workers with at least one task."""
    queued: int
    """Tasks that no worker holds yet."""
    restarts: int
    """Workers replaced since the start."""


class Engine(Protocol):
    """Runs tasks. Four methods, all called from the event loop's thread."""

    async def start(self) -> None:
        """Make the engine ready; returns when every worker has answered."""
        ...

    def submit(self, job: str, task: Task) -> asyncio.Future[float]:
        """Queue one task of a job; jobs take turns.

        Returns:
            A future of the seconds of worker time. It fails with the task's own typed error (ComputationError,
            TooLargeError for memory, WorkerError after repeated deaths, InternalError for a defect, EngineStartError
            when no worker is left). Cancelling it drops a task that no worker holds; a task that a worker holds runs
            on: `wait_idle` tells when its memory is free.

        Raises:
            ConnectionFailedError: The engine is closed.
        """
        ...

    async def wait_idle(self, job: str) -> None:
        """Drop the job's queued tasks and wait until no worker touches its memory any more.

        The futures of dropped tasks are cancelled. Cancelling the wait leaves the tasks dropped.
        """
        ...

    async def close(self) -> None:
        """End all workers; tasks that were not answered are cancelled. Safe to call twice.

        Afterwards nothing touches the arena. Cancelling it only shortens the grace that running tasks have.
        """
        ...

    @property
    def status(self) -> EngineStatus: ...
