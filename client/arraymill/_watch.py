"""Watching a submitted job over connections that may break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from arraymill._caller import Caller
from arraymill._connection import Connection, RawEvents
from arraymill._job_info import JobNotDoneError, JobStatus, job_status
from arraymill._limits import TIE_SECONDS, Remaining, within
from arraymill._retry import Backoff
from arraymill._ticket import Ticket
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, DeadlineError, JobNotFoundError
from arraymill_proto.limits import WATCH_REPEAT_SECONDS
from arraymill_proto.v1 import arraymill_pb2 as pb

_METHOD = "WatchJob"

SILENT_SECONDS: Final = 2 * WATCH_REPEAT_SECONDS
"""How long a server may tell nothing before the connection is taken for lost."""


async def watch_job(caller: Caller, ticket: Ticket, seconds: float) -> AsyncGenerator[JobStatus, None]:
    """Give every status that the server tells, the last when the job has ended.

    Args:
        caller: The client's calls.
        ticket: Of the job.
        seconds: For all of it.

    Raises:
        ArraymillError: What the server has to say, or the connection after it was tried again.
        JobNotDoneError: The time is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    backoff = Backoff(caller.retry, caller.passes)
    events = _Events(caller, ticket)
    try:
        while True:
            # Each step has a limit of its own: one step may be taken in another task than the next.
            try:
                async with within(max(end - loop.time(), 0.0)) as remaining:
                    status = await _next(caller, ticket, events, backoff, remaining)
            except DeadlineError as exc:
                if end - loop.time() > TIE_SECONDS:
                    raise
                text = f"job {ticket.id} had not ended after {seconds:g} s; as far as is known it goes on"
                raise JobNotDoneError(text, job=ticket.id) from exc
            yield status
            if status.has_ended:
                return
    finally:
        events.end()


async def _next(caller: Caller, ticket: Ticket, events: _Events, backoff: Backoff, remaining: Remaining) -> JobStatus:
    while True:
        id = ticket.id
        try:
            status = await events.next(id)
        except JobNotFoundError as exc:
            events.end()
            await ticket.renew(exc, id, remaining)
        except ArraymillError as exc:
            events.end()
            pause = backoff.pause(exc, remaining())
            if pause is None:
                raise
            await caller.retry.sleep(pause)
        else:
            backoff.reset()
            return status


class _Events:
    """One WatchJob stream after the other."""

    def __init__(self, caller: Caller, ticket: Ticket) -> None:
        self._caller = caller
        self._ticket = ticket
        self._stream: RawEvents | None = None

    async def next(self, id: str) -> JobStatus:
        """Return what the server tells next, on a new stream if there is none.

        Raises:
            ArraymillError: The stream has ended.
        """
        with self._caller.on(self._ticket) as connection:
            await connection.ready()
            with connection.errors(_METHOD):
                if self._stream is None:
                    self._stream = connection.events(_METHOD, pb.WatchJobRequest(id=id), None)
                message = await self._read(self._stream, connection, id)
            if not isinstance(message, bytes):
                raise ConnectionFailedError(f"the server at {connection.address} stopped telling of job {id}")
            return job_status(connection.parsed(_METHOD, message, pb.Job))

    async def _read(self, stream: RawEvents, connection: Connection, id: str) -> object:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                return await stream.read()
        except TimeoutError as exc:
            silence = f"the server at {connection.address} told nothing of job {id} for {SILENT_SECONDS:g} s"
            raise ConnectionFailedError(silence) from exc

    def end(self) -> None:
        """Cancel the stream; the next status comes on a new one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
