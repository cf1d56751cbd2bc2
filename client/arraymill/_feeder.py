"""Bringing the inputs of a submitted job in the background: attached again after every cut, until the job has them.

::

    attach ─▶ wants answered ─▶ Done                   the job needs nothing more
                  │ the stream breaks, or is refused
                  ▼
            what became of the job?
              it has ended, or is stopping             nothing more to bring; its end is told by its status
              it goes on, and the failure may pass     attach again after a pause: what had not arrived is wanted again
              it goes on with another client           watch, until it has ended; attach again if it gets no more bytes
              it went with its server                  submit it again to the one that is there now, and attach
              anything else                            the upload has failed

The one that attached last feeds a job. Whoever was there before keeps its arrays: the other may die. Two that both live
must not take the job from each other again and again, each time with what had half arrived. So who was replaced takes
it back only where the job runs and nothing comes, and waits twice as long the next time.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from traceback import clear_frames
from typing import Any, Final

from arraymill._caller import Caller
from arraymill._connection import Connection
from arraymill._graph import Computation
from arraymill._info import Progress
from arraymill._job_info import JobState, JobStatus, failure_of, job_status
from arraymill._limits import INFORMATION_SECONDS
from arraymill._retry import Backoff
from arraymill._ticket import Ticket
from arraymill._transfer import Options, Transfer
from arraymill._withdraw import cancel_unfed
from arraymill_proto.errors import (
    ArraymillError,
    ConnectionFailedError,
    DeadlineError,
    JobNotFoundError,
    JobTakenError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb

UPLOAD_SECONDS: Final = 300.0
"""How long a feeder looks for the server again, unless the client tries even longer: by then a server has given up a
job for which nobody brings input (45 s, unless told otherwise)."""

STILL_SECONDS: Final = 10.0
"""How long a job that another client feeds may get nothing, the first time, before it is taken for abandoned. It is
noticed within twice that; then there is time left to bring something before the server gives the job up."""

LOOK_SECONDS: Final = 60.0
"""How long a stream may be open before the server is asked whether it still answers, and again: it may have no wants
for hours, while a job is queued or computes."""


class Feeder:
    """Feeds one submitted job. Make it in a running event loop; `end` it, or let it come to its end.

    Args:
        caller: The client's calls.
        ticket: Of the job; spent at the end.
        job: What it computes; its arrays are held until the end, and no longer.
        slot: Closed at the end.
        is_own: Nobody else has heard of its key: so it is cancelled where this is ended before it has its input.
    """

    def __init__(
        self, caller: Caller, ticket: Ticket, job: Computation, slot: ExitStack, *, is_own: bool = False
    ) -> None:
        self._caller = caller
        self._ticket = ticket
        self._slot = slot
        self._is_own = is_own
        seconds = caller.retry.seconds and max(caller.retry.seconds, UPLOAD_SECONDS)
        self._backoff = Backoff(caller.retry, caller.passes, seconds=seconds)
        self._outcome: JobStatus | None = None
        self._patience = STILL_SECONDS
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when the upload does; else it stays open."""
        caller.uploads.add(self)
        self._task = asyncio.ensure_future(self._feed(job))
        self._task.add_done_callback(self._ended)

    def __repr__(self) -> str:
        state = "failed" if self.failure.done() else "done" if self._task.done() else "feeding"
        return f"<Feeder of job {self._ticket.id}: {state}>"

    async def wait(self) -> None:
        """Wait until the job has ended, or the upload has.

        Raises:
            ArraymillError: The upload has failed, or the job was stopped before it had all.
        """
        await asyncio.wait([self._task])
        if self.failure.done():
            self.failure.result()
        error = None if self._outcome is None else failure_of(self._outcome)
        if error is not None:
            raise error

    async def end(self) -> None:
        """Stop feeding; who waits gets ConnectionFailedError."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._is_own and self._task.cancelled():
            await cancel_unfed(self._ticket.connection, self._ticket.id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._caller.uploads.discard(self)
        self._slot.close()
        self._ticket.spend()
        if task.cancelled():
            self._fail(ConnectionFailedError(f"the client was closed before job {self._ticket.id} had its input"))
        elif (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        _drop_locals(error)
        self.failure.set_exception(error)
        self.failure.exception()  # asyncio need not complain when nobody asks

    async def _feed(self, job: Computation) -> None:
        while True:
            id = self._ticket.id
            try:
                await self._attach(job)
                return
            except JobTakenError:
                self._is_own = False
                pause = await self._stand_by()
            except ArraymillError as exc:
                pause = await self._pause_after(exc, id)
            if pause is None:
                return
            await self._caller.retry.sleep(pause)

    async def _attach(self, job: Computation) -> None:
        """Answer the wants of the job until it has ended or the stream breaks."""
        with self._caller.on(self._ticket) as connection:
            info = await connection.ready()
            options = self._caller.options(job, Options(attach=self._ticket.id, progress=self._moved), info)
            feeding = asyncio.ensure_future(Transfer(connection, job, options).run())
            try:
                while not feeding.done():
                    await asyncio.wait([feeding], timeout=LOOK_SECONDS)
                    if not feeding.done():
                        await self._check(connection, feeding)
                feeding.result()
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                del feeding  # its error holds this frame: a circle would keep the arrays for a while

    async def _check(self, connection: Connection, feeding: asyncio.Future[Any]) -> None:
        """Check that a server that says nothing is there, and has not ended the job.

        Raises:
            ArraymillError: What it has to say, or that it says nothing.
        """
        status = await self._look(connection, self._ticket.id)
        if status.has_ended:
            await asyncio.wait([feeding], timeout=INFORMATION_SECONDS)
            if not feeding.done():
                raise ConnectionFailedError(
                    f"{connection.address} does not tell a feeder that job {status.id} has ended"
                )

    def _moved(self, _: Progress) -> None:
        """Whatever fails from now on is a new row of failures."""
        self._backoff.reset()

    async def _pause_after(self, error: ArraymillError, id: str) -> float | None:
        """Return the seconds until the next attempt; None: the job has ended, or is stopping.

        Args:
            error: What has happened.
            id: The job's at that time.

        Raises:
            ArraymillError: The upload has failed.
        """
        if id != self._ticket.id:
            return 0.0  # somebody who waits for the job has submitted it again meanwhile
        try:
            with self._caller.on(self._ticket) as connection:
                await connection.ready()
                status = await self._look(connection, id)
        except JobNotFoundError as exc:
            await self._ticket.renew(exc, id, lambda: None)
            return 0.0
        except ArraymillError as exc:
            if not self._caller.passes(exc):
                raise
        else:
            if self._is_over(status):
                return None
        pause = self._backoff.pause(error)
        if pause is None:
            raise error
        return pause

    async def _stand_by(self) -> float | None:
        """Watch another client feed the job, until nothing has come for long. As `_pause_after`."""
        loop = asyncio.get_running_loop()
        seen, since = -1, 0.0
        while True:
            id = self._ticket.id
            try:
                status = await self._ticket.wait(min(self._patience, STILL_SECONDS), lambda: None)
            except ArraymillError as exc:
                return await self._pause_after(exc, id)
            if self._is_over(status):
                return None
            if status.state is not JobState.RUNNING or status.received_bytes != seen:
                seen, since = status.received_bytes, loop.time()
            elif loop.time() - since >= self._patience:
                self._patience *= 2
                return 0.0

    def _is_over(self, status: JobStatus) -> bool:
        """Tell whether a job needs nothing more, and remember how it ended."""
        is_over = status.has_ended or failure_of(status) is not None
        self._outcome = status if is_over else None
        return is_over

    async def _look(self, connection: Connection, id: str) -> JobStatus:
        """Ask how the job is.

        Raises:
            ConnectionFailedError: The server is silent, or cannot be reached.
        """
        try:
            return job_status(await connection.call("GetJob", pb.GetJobRequest(id=id), pb.Job, INFORMATION_SECONDS))
        except DeadlineError as exc:
            raise ConnectionFailedError(
                f"{connection.address} did not answer within {INFORMATION_SECONDS:g} s"
            ) from exc


def _drop_locals(error: BaseException | None) -> None:
    """Let an error that will be kept hold no array."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
