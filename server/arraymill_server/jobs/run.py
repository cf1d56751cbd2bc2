"""The shell around a job's machine: carries its instructions out on an engine and an exchange."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

from arraymill_proto.errors import ConnectionFailedError, Reason
from arraymill_server.arena.memory import Memory
from arraymill_server.engine.base import Engine, Fence
from arraymill_server.jobs.exchange import Exchange, Outgoing
from arraymill_server.plan.instructions import Compute, Dispatch, Fetch, Instruction, Write
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.program import BatchTask, BlockTask

TURN_SECONDS: Final = 0.004
"""What a job may take of the event loop at a time: one of 1,000 results has 50 ms of work at its end."""


@dataclass(slots=True)
class Times:
    """Where the time of a job went, in seconds. Phases overlap."""

    queued: float = 0.0
    received: float = 0.0
    computed: float = 0.0
    merged: float = 0.0
    sent: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Hands:
    """What runs tasks and what holds memory: shared by all jobs of a server."""

    engine: Engine
    interpreter: Interpreter
    """Runs tasks that are smaller than their dispatch, on the event loop."""
    memory: Memory
    """What tasks may name."""


class JobRun:
    """Runs one job in its workspace. A `Peer` of its exchange.

    Args:
        job_id: Under which the engine queues its tasks.
        machine: The job's machine.
        hands: What runs tasks.
        exchange: The way to the client.
        times: Filled while the job runs.
        client: Whose job it is: the tasks of clients take turns.
    """

    def __init__(
        self, job_id: str, machine: JobMachine, hands: Hands, exchange: Exchange, times: Times, *, client: str = ""
    ) -> None:
        self._job_id = job_id
        self._client = client
        self._machine = machine
        self._hands = hands
        self._exchange = exchange
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._tokens: deque[int] = deque()
        self._instructions: deque[Instruction] = deque()
        self._is_stepping = False
        """True while it does something, or its next turn of the loop is due: what comes meanwhile waits for that."""
        self._first_want: float | None = None
        self._first_send: float | None = None
        self._wants: set[int] = set()
        self._blocks_told = 0
        self.fence: Fence | None = None
        """After the end: what must fall before the job's memory is free; None: it is."""

    def __repr__(self) -> str:
        return f"<JobRun {self._job_id}: {self._machine!r}>"

    @property
    def blocks_done(self) -> int:
        return self._machine.blocks_done

    async def run(self) -> None:
        """Run to the end.

        When it returns or raises, no worker touches the job's memory, or `fence` is set. Cancelling it stops the work:
        queued tasks are dropped, and it ends when the running ones have, after a second at most.
        """
        try:
            if not self._ended.done():  # the exchange may have failed when it was told of the start
                self._step(self._machine.start())
            await self._ended
        finally:
            self._exchange.close()
            await _to_its_end(self._wait_idle())

    async def _wait_idle(self) -> None:
        self.fence = await self._hands.engine.wait_idle(self._job_id)

    # ------------------------------------------------------------------ Peer

    def done(self, token: int) -> None:
        """An instruction has ended."""
        if self._ended.done():
            return
        self._note_end(token)
        self._tokens.append(token)
        if not self._is_stepping:
            self._step()

    def fail(self, error: BaseException) -> None:
        """End the job with an error; the first one counts."""
        if not self._ended.done():
            self._ended.set_exception(error)

    # ------------------------------------------------------------------ instructions

    def _step(self, instructions: Sequence[Instruction] = ()) -> None:
        """Carry out instructions until none is left, or others want their turn of the loop.

        An exchange may end one at once, hence the queue of tokens.
        """
        self._instructions.extend(instructions)
        self._is_stepping = True
        try:
            self._is_stepping = not self._carry_on(monotonic() + TURN_SECONDS)
            self._tell_progress()
        except Exception as error:
            self.fail(error)
            return
        if self._is_stepping:
            self._loop.call_soon(self._step)
        elif self._machine.is_finished and not self._ended.done():
            self._ended.set_result(None)

    def _carry_on(self, end: float) -> bool:
        """Carry out what there is, no longer than to a time; True when nothing is left."""
        while not self._ended.done():
            if self._instructions:
                self._carry_out(self._instructions.popleft())
            elif self._tokens:
                self._instructions.extend(self._machine.done(self._tokens.popleft()))
            else:
                return True
            if monotonic() > end:
                return False
        return True

    def _tell_progress(self) -> None:
        if self.blocks_done > self._blocks_told and not self._ended.done():
            self._blocks_told = self.blocks_done
            self._exchange.progress(self._blocks_told)

    def _carry_out(self, instruction: Instruction) -> None:
        memory = self._hands.memory
        if isinstance(instruction, Dispatch):
            self._dispatch(instruction)
        elif isinstance(instruction, Compute):
            begin = monotonic()
            self._hands.interpreter.run(instruction.task)
            self._times.merged += monotonic() - begin
        elif isinstance(instruction, Fetch):
            self._fetch(instruction)
        elif isinstance(instruction, Write):
            memory.bytes(instruction.address, len(instruction.data))[:] = instruction.data
        else:
            self._first_send = self._first_send or monotonic()
            part = instruction.part
            data = memory.bytes(part.address, part.nbytes)
            self._exchange.send(Outgoing(instruction.outputs, part.offset, data, part.address), instruction.token)

    def _fetch(self, fetch: Fetch) -> None:
        self._first_want = self._first_want or monotonic()
        self._wants.add(fetch.token)
        target = self._hands.memory.bytes(fetch.address, fetch.wanted.nbytes)
        self._exchange.want(fetch.wanted, target, fetch.token, fetch.address)

    def _dispatch(self, dispatch: Dispatch) -> None:
        future = self._hands.engine.submit(self._job_id, dispatch.task, client=self._client)
        future.add_done_callback(partial(self._task_done, dispatch))

    def _task_done(self, dispatch: Dispatch, future: asyncio.Future[float]) -> None:
        if future.cancelled():
            self.fail(ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN))
            return
        error = future.exception()
        if error is not None:
            self.fail(error)
            return
        if isinstance(dispatch.task, BlockTask | BatchTask):
            self._times.computed += future.result()
        else:
            self._times.merged += future.result()
        self.done(dispatch.token)

    def _note_end(self, token: int) -> None:
        now = monotonic()
        if token in self._wants:
            self._wants.discard(token)
            self._times.received = now - (self._first_want or now)
        if self._first_send is not None:
            self._times.sent = now - self._first_send


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await work that must end before anything else goes on; a cancellation goes on when it has ended."""
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    task.result()
    if cancellation is not None:
        raise cancellation
