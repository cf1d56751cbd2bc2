"""An engine whose tasks end when a test says so, and how it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from arraymill_proto.errors import ConnectionFailedError, Reason
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.base import EngineStatus, Fence
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.program import Task


@dataclass(frozen=True, slots=True)
class _Entry:
    job: str
    task: Task
    future: asyncio.Future[float]


class HeldEngine:
    """Runs nothing by itself. The oldest tasks, as many as there are workers, count as held by workers.

    Args:
        space: What tasks may name.
        workers: How many tasks are held; the others are queued.
    """

    def __init__(self, space: Memory, workers: int = 1) -> None:
        self._interpreter = Interpreter(space)
        self._workers = workers
        self._entries: list[_Entry] = []
        self._changed = asyncio.Event()
        self._is_closed = False
        self.submitted = 0
        """Tasks that were ever submitted."""

    def __repr__(self) -> str:
        return f"<HeldEngine {len(self.held)} held, {len(self._entries) - len(self.held)} queued>"

    @property
    def held(self) -> list[Task]:
        """The tasks that workers hold, oldest first."""
        return [entry.task for entry in self._entries[: self._workers]]

    @property
    def status(self) -> EngineStatus:
        held = len(self.held)
        return EngineStatus(self._workers, held, len(self._entries) - held, 0)

    def end_one(self, error: BaseException | None = None) -> None:
        """Let the oldest task end, well or not."""
        entry = self._entries.pop(0)
        if error is None:
            self._interpreter.run(entry.task)
        if not entry.future.done():
            if error is None:
                entry.future.set_result(0.0)
            else:
                entry.future.set_exception(error)
        self._changed.set()

    # ------------------------------------------------------------------ Engine

    async def start(self) -> None:
        """Do nothing: the engine is ready."""

    def submit(self, job: str, task: Task, *, client: str = "") -> asyncio.Future[float]:
        if self._is_closed:
            raise ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)
        entry = _Entry(job, task, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        self.submitted += 1
        return entry.future

    async def wait_idle(self, job: str) -> Fence | None:
        held = self._entries[: self._workers]
        dropped = [entry for entry in self._entries[self._workers :] if entry.job == job]
        self._entries = held + [entry for entry in self._entries[self._workers :] if entry.job != job]
        for entry in dropped:
            entry.future.cancel()
        while any(entry.job == job for entry in self._entries):
            self._changed.clear()
            await self._changed.wait()
        return None

    async def close(self) -> None:
        self._is_closed = True
        entries, self._entries = self._entries, []
        for entry in entries:
            entry.future.cancel()
        self._changed.set()
