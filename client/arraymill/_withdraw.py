"""Taking jobs back that nobody can come for: their id reached nobody, or their input will never be sent."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from arraymill._caller import Caller, Place
from arraymill._connection import Connection
from arraymill._limits import within
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, JobEndedError, JobNotFoundError
from arraymill_proto.v1 import arraymill_pb2 as pb

_log = logging.getLogger("arraymill")

LATE_SECONDS: Final = 10.0
"""How long the answer to a submission is waited for that its caller did not wait for, and each answer after it."""

CLOSE_SECONDS: Final = 2.0
"""How long a client that is closed waits until such jobs are cancelled."""


class Withdrawal:
    """Cancels and deletes a job in the background, as soon as the server answers that it has it. An `Upload`.

    Where that answer was lost the job is submitted once more: under its key the server finds what it has.

    Args:
        caller: The client's calls.
        place: Where it was submitted.
        request: What submitted it.
        answer: To the submission.
    """

    def __init__(
        self, caller: Caller, place: Place, request: pb.SubmitJobRequest, answer: asyncio.Future[pb.Job]
    ) -> None:
        caller.uploads.add(self)
        self._task = asyncio.ensure_future(_withdraw(caller, place, request, answer))
        self._task.add_done_callback(lambda _: caller.uploads.discard(self))

    async def end(self) -> None:
        """Give it a moment, and end it."""
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        self._task.cancel()
        await asyncio.wait([self._task])


async def _withdraw(caller: Caller, place: Place, request: pb.SubmitJobRequest, answer: asyncio.Future[pb.Job]) -> None:
    try:
        try:
            async with within(LATE_SECONDS):
                job = await answer
        except ConnectionFailedError:
            if not caller.retry.seconds:
                raise  # such a client makes no call twice
            job = await caller.ask("SubmitJob", request, pb.Job, LATE_SECONDS, place=place)
        with suppress(JobEndedError):
            await caller.ask("CancelJob", pb.CancelJobRequest(id=job.id), pb.Job, LATE_SECONDS, place=place)
        with suppress(JobNotFoundError):
            delete = pb.DeleteJobRequest(id=job.id)
            await caller.ask("DeleteJob", delete, pb.DeleteJobResponse, LATE_SECONDS, place=place)
    except ArraymillError as exc:
        _log.debug("a job whose submission was given up could not be cancelled: %s", exc)
    finally:
        del answer  # its error holds this frame


async def cancel_unfed(connection: Connection, id: str) -> None:
    """Cancel a job if it still lacks input that will not come; done within CLOSE_SECONDS, well or not.

    Who needs several passes over its inputs does not say how many: after the first one nobody here knows whether it
    lacks some. It is left alone, with a warning.
    """
    is_asked = False
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            job = await connection.call("GetJob", pb.GetJobRequest(id=id), pb.Job, CLOSE_SECONDS)
            if job.state not in (pb.JOB_QUEUED, pb.JOB_RUNNING):
                return
            if job.received_bytes >= job.input_bytes:
                _log.warning("the client was closed before job %s had ended: it fails if it needs its input again", id)
                return
            is_asked = True
            await connection.call("CancelJob", pb.CancelJobRequest(id=id), pb.Job, CLOSE_SECONDS)
            _log.warning("the client was closed before job %s had its input: it is cancelled", id)
    except TimeoutError:  # a DeadlineError is one too
        told = "has asked the server to cancel it, and does not wait for the answer" if is_asked else "has no answer"
        _log.warning("the client was closed before job %s had its input, and %s", id, told)
    except ArraymillError as exc:
        _log.warning("the client was closed before job %s had its input, and could not cancel it: %s", id, exc)
