"""Taking jobs back that nobody can come for: their id reached nobody, or their input will never be sent."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from arraymill._caller import Caller
from arraymill._connection import Connection
from arraymill_proto.errors import ArraymillError, JobEndedError
from arraymill_proto.v1 import arraymill_pb2 as pb

_log = logging.getLogger("arraymill")

LATE_SECONDS: Final = 10.0
"""How long the answer to a submission is waited for that its caller did not wait for."""

CLOSE_SECONDS: Final = 2.0
"""How long a client that is closed waits until such jobs are cancelled."""


class Withdrawal:
    """Cancels and deletes a job in the background, as soon as the server answers that it has it. An `Upload`.

    Args:
        caller: The client's calls.
        connection: On which it was submitted.
        answer: To the submission.
    """

    def __init__(self, caller: Caller, connection: Connection, answer: asyncio.Future[pb.Job]) -> None:
        caller.uploads.add(self)
        self._task = asyncio.ensure_future(_withdraw(connection, answer))
        self._task.add_done_callback(lambda _: caller.uploads.discard(self))

    async def end(self) -> None:
        """Give it a moment, and end it."""
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        self._task.cancel()
        await asyncio.wait([self._task])


async def _withdraw(connection: Connection, answer: asyncio.Future[pb.Job]) -> None:
    try:
        async with asyncio.timeout(LATE_SECONDS):
            id = (await answer).id
            with suppress(JobEndedError):
                await connection.call("CancelJob", pb.CancelJobRequest(id=id), pb.Job, LATE_SECONDS)
            await connection.call("DeleteJob", pb.DeleteJobRequest(id=id), pb.DeleteJobResponse, LATE_SECONDS)
    except (ArraymillError, TimeoutError) as exc:
        _log.debug("a job whose submission was given up could not be cancelled: %s", exc)


async def cancel_unfed(connection: Connection, id: str) -> None:
    """Cancel a job if it still lacks input that will not come; done within CLOSE_SECONDS, well or not."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            job = await connection.call("GetJob", pb.GetJobRequest(id=id), pb.Job, CLOSE_SECONDS)
            if job.state in (pb.JOB_QUEUED, pb.JOB_RUNNING) and job.received_bytes < job.input_bytes:
                await connection.call("CancelJob", pb.CancelJobRequest(id=id), pb.Job, CLOSE_SECONDS)
                _log.warning("the client was closed before job %s had its input: it is cancelled", id)
    except (ArraymillError, TimeoutError) as exc:
        _log.warning("the client was closed before job %s had its input, and could not cancel it: %s", id, exc)
