"""The id of a submitted job, the connection to the server that has it, and what it takes to submit it again.

Jobs live in their server's memory. When another server has taken its place, a client that still has what the job
computes submits it there under its key: a job is a function of its inputs, so nobody notices but by the time it takes
and by the new id. Whether it is another server is told by when it was started, as its clients can bound it from what it
says of its age. A job that was deleted, or forgotten by the server that had it, stays gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from arraymill._caller import Caller
from arraymill._connection import Connection
from arraymill._job_info import JobStatus, job_status
from arraymill._limits import INFORMATION_SECONDS, LONGEST_SECONDS, Remaining
from arraymill._withdraw import LATE_SECONDS
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, Reason
from arraymill_proto.limits import MAX_WAIT_SECONDS
from arraymill_proto.v1 import arraymill_pb2 as pb

EARLY_PAUSE: Final = 0.5
"""Seconds before a server is asked again that has answered before the job ended, or the wait was over."""

QUESTIONS: Final = 2
"""How often a server is asked for its age before it is taken for the one that had a job: while a connection is made, an
answer may take seconds, and tells no better when the server was started."""

Late: TypeAlias = "Callable[[Ticket, pb.SubmitJobRequest, asyncio.Future[pb.Job]], object]"


class Ticket:
    """A submitted job. A `Place`.

    Args:
        caller: The client's calls.
        id: The job's; empty before it was submitted.
        request: What submits it; None: it cannot be submitted again from here.
    """

    def __init__(self, caller: Caller, id: str = "", request: pb.SubmitJobRequest | None = None) -> None:
        self._caller = caller
        self._request = request
        self.connection = caller.connection
        """To the server that has the job, until that shuts down."""
        self._server_began: tuple[float, float] | None = None
        self.id = id

    def __repr__(self) -> str:
        return f"<Ticket of job {self.id}: {'for once' if self._request is None else 'for good'}>"

    async def send(self, request: pb.SubmitJobRequest, remaining: Remaining, late: Late | None = None) -> JobStatus:
        """Submit the job.

        Args:
            request: What to submit.
            remaining: Of the call.
            late: Gets what was sent, and the answer that is yet to come or was lost on its way, when this fails or is
                cancelled though the server may have the job.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        unheard: list[asyncio.Future[pb.Job]] = []

        async def attempt(connection: Connection, _: int) -> pb.Job:
            left = remaining()
            seconds = LONGEST_SECONDS if left is None else left + LATE_SECONDS
            answer = asyncio.ensure_future(connection.call("SubmitJob", request, pb.Job, seconds))
            try:
                return await asyncio.shield(answer)
            except (asyncio.CancelledError, ConnectionFailedError) as exc:
                if not isinstance(exc, ConnectionFailedError) or exc.reason is not Reason.SHUTTING_DOWN:
                    unheard[:] = [answer]
                raise
            finally:
                del answer  # its error holds this frame: a circle would keep the connection for a while

        self.connection = self._caller.connection
        try:
            message = await self._caller.tried(attempt, remaining, place=self)
        except (asyncio.CancelledError, ArraymillError):
            for answer in unheard:
                if late is None:
                    answer.cancel()
                else:
                    late(self, request, answer)
                del answer
            raise
        finally:
            unheard.clear()
        self._server_began = self.connection.server_began
        self.id = message.id
        return job_status(message)

    async def wait(self, seconds: float, remaining: Remaining) -> JobStatus:
        """Ask how the job is at its end, or when some seconds have passed, or as many as the server lets a call wait.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        loop = asyncio.get_running_loop()
        info, left = await self._caller.ready(remaining, self), remaining()
        longest = min(seconds, info.max_wait_seconds or MAX_WAIT_SECONDS)
        wait, begin = longest if left is None else min(left, longest), loop.time()
        request = pb.GetJobRequest(id=self.id, wait_seconds=wait)
        patience = wait + INFORMATION_SECONDS
        message = await self._caller.asked("GetJob", request, pb.Job, remaining, place=self, longest=patience)
        status = job_status(message)
        if not status.has_ended and loop.time() - begin < wait / 2:
            await self._caller.retry.sleep(EARLY_PAUSE)
        return status

    async def renew(self, error: ArraymillError, id: str, remaining: Remaining) -> None:
        """Submit the job again where the server that had it is gone.

        Args:
            error: What the server that is there now says of the job, or of its results.
            id: The job's at that time.
            remaining: Of the call that wants it.

        Raises:
            ArraymillError: That error, where this cannot help; or what the server or the connection has to say.
        """
        if id != self.id:
            return  # somebody else has done it meanwhile
        if self._again() is None:
            raise error
        for _ in range(QUESTIONS):
            self.connection.doubt()
            await self._caller.ready(remaining, self)
            if id != self.id:
                return
            request = self._again()
            if request is not None and _are_apart(self._server_began, self.connection.server_began):
                await self.send(request, remaining)
                return
        raise error

    def spend(self) -> None:
        """Submit the job never again: its inputs are not here any more."""
        self._request = None

    def _again(self) -> pb.SubmitJobRequest | None:
        """Return what submits the job again, if that is wanted."""
        return self._request if self._caller.retry.seconds else None


def _are_apart(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Tell whether two ranges of time have no moment in common."""
    return one is not None and other is not None and (one[1] < other[0] or other[1] < one[0])
