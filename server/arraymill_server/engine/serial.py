"""The reference engine: runs every task in this process, one after the other."""

from __future__ import annotations

import asyncio
from itertools import count

from arraymill_proto.errors import ConnectionFailedError, Reason
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.base import EngineStatus
from arraymill_server.engine.describe import facts_of
from arraymill_server.engine.messages import Request
from arraymill_server.engine.outcome import error_of
from arraymill_server.engine.perform import TaskRunner, perform
from arraymill_server.engine.turns import Entry, Turns
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.program import Task


class SerialEngine:
    """Runs tasks on the event loop's thread, with one turn of the loop between two.

    Args:
        space: What tasks may name.
        runner: What runs the tasks; the interpreter by default.
    """

    def __init__(self, space: Memory, *, runner: TaskRunner | None = None) -> None:
        self._space = space
        self._runner = runner or Interpreter(space)
        self._turns = Turns()
        self._task_ids = count(1)
        self._next: asyncio.Handle | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<SerialEngine: {len(self._turns)} queued>"

    @property
    def status(self) -> EngineStatus:
        """What the engine is doing now; between tasks it is never busy."""
        return EngineStatus(workers=1, busy=0, queued=len(self._turns), restarts=0)

    async def start(self) -> None:
        """Do nothing: the engine is ready."""

    def submit(self, job: str, task: Task, *, client: str = "") -> asyncio.Future[float]:
        """Queue one task; see `Engine.submit`."""
        if self._is_closed:
            raise ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)
        loop = asyncio.get_running_loop()
        entry = Entry(next(self._task_ids), job, task, loop.create_future(), b"", client)
        self._turns.push(entry)
        if self._next is None:
            self._next = loop.call_soon(self._run_one)
        return entry.future

    async def wait_idle(self, job: str) -> None:
        """Drop the job's queued tasks; none runs while anything else does."""
        for entry in self._turns.drop(job):
            entry.future.cancel()

    async def close(self) -> None:
        """Cancel what is queued."""
        self._is_closed = True
        for entry in self._turns.clear():
            entry.future.cancel()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _run_one(self) -> None:
        self._next = None
        entry = self._turns.pop()
        if entry is None:
            return
        reply = perform(self._runner, Request(entry.task_id, entry.generation, entry.task))
        error = error_of(reply, lambda: facts_of(entry.task, self._space))
        if error is None:
            entry.future.set_result(reply.seconds)
        else:
            entry.future.set_exception(error)
        self._next = asyncio.get_running_loop().call_soon(self._run_one)
