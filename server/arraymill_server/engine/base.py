"""The seam between jobs and whatever runs their tasks.

An engine runs tasks: pure functions from extents of the arena to other extents (see `plan.program`). Engines differ in
where tasks run, never in what they compute: all run the same interpreter on the same tasks and give the same bits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from arraymill_proto.errors import InternalError
from arraymill_server.plan.program import Task

Fence: TypeAlias = "asyncio.Future[None]"
"""Done when the kernel has confirmed the end of a worker that could not be killed. Until then the memory of the job
whose task it held may still be written to. Belongs to the engine: not to be cancelled."""


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
    """Workers replaced since the start, those that were recycled not counted."""
    endings: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same by the reason of their end: the words of `death.Ending`."""
    recycled: int = 0
    """Workers replaced because they were worn."""
    fenced: int = 0
    """Workers that cannot be killed, each replaced by another one."""


class Engine(Protocol):
    """Runs tasks. Four methods, all called from the event loop's thread."""

    async def start(self) -> None:
        """Make the engine ready; returns when every worker has answered."""
        ...

    def submit(self, job: str, task: Task, *, client: str = "") -> asyncio.Future[float]:
        """Queue one task of a job. Clients take turns, and in a client's turn its jobs do.

        Args:
            job: The job; its tasks keep their order.
            task: What is to be done.
            client: Whose job it is.

        Returns:
            A future of the seconds of worker time. It fails with the task's own typed error (ComputationError,
            TooLargeError for memory, WorkerError after repeated deaths or because of a worker that cannot be killed,
            InternalError for a defect, EngineStartError when no worker is left). Cancelling it drops a task that no
            worker holds; a task that a worker holds runs on: `wait_idle` tells when its memory is free.

        Raises:
            ConnectionFailedError: The engine is closed.
        """
        ...

    async def wait_idle(self, job: str) -> Fence | None:
        """End the job's work: drop its queued tasks, and wait until no worker touches its memory any more.

        The futures of dropped tasks are cancelled. Running tasks may end by themselves for a moment; then their
        workers are killed. So it takes a second at most, some more where a worker cannot be killed. Other jobs notice
        nothing. Cancelling the wait leaves the tasks dropped.

        Returns:
            None: the memory is free. A fence: a worker that cannot be killed may still touch it until that is done.
        """
        ...

    async def close(self) -> None:
        """End all workers; tasks that were not answered are cancelled. Safe to call twice.

        Afterwards nothing touches the arena, except for workers that cannot be killed. Cancelling it only shortens the
        grace that running tasks have.
        """
        ...

    @property
    def status(self) -> EngineStatus: ...
