"""The drain: jobs end, or are ended with the server, and clients come for what they wait for."""

from __future__ import annotations

import asyncio
from functools import cached_property
from time import monotonic
from typing import Any, Final

from arraymill_proto.errors import ConnectionFailedError, Reason
from arraymill_server.jobs.exchange import Exchange
from arraymill_server.jobs.request import Report, Request
from arraymill_server.jobs.service import Jobs
from arraymill_server.rpc.calls import Calls

LINGER_SECONDS: Final = 0.5
"""Who waits for a submitted job comes for its result so soon after its end: some round trips around the Earth. Each
reading gives that time anew."""


class EndableJobs(Jobs):
    """All jobs of a server that can be ended at once; their clients are told why.

    gRPC would cut the connections of calls that do not end in time, so that a client could not tell a server that is
    replaced from one that has died.
    """

    @cached_property
    def _ended(self) -> asyncio.Event:
        return asyncio.Event()

    @cached_property
    def _idle(self) -> asyncio.Event:
        return asyncio.Event()

    @cached_property
    def _tasks(self) -> set[asyncio.Task[Any]]:
        return set()

    last_kept = float("-inf")
    """When the last job ended that left its values on the server: whoever waits for them comes soon."""

    @property
    def is_idle(self) -> bool:
        """True when no job waits or runs."""
        return not self._tasks

    async def wait_idle(self) -> None:
        """Return when no job waits or runs."""
        while self._tasks:
            self._idle.clear()
            await self._idle.wait()

    def end(self) -> None:
        """End the jobs that run or wait, and refuse new ones: ConnectionFailedError with SHUTTING_DOWN."""
        self._ended.set()
        for task in self._tasks:
            task.cancel()

    async def run(self, request: Request, exchange: Exchange) -> Report:
        """Run a job as `Jobs.run` does, unless `end` comes before its end.

        Raises:
            ArraymillError: As `Jobs.run`.
            ConnectionFailedError: The server is shutting down.
        """
        if self._ended.is_set():
            raise _time_is_over()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await super().run(request, exchange)
        except asyncio.CancelledError:
            if not self._ended.is_set():
                raise
            task.uncancel()
            raise _time_is_over() from None
        finally:
            if request.keep is not None:
                self.last_kept = monotonic()
            self._tasks.discard(task)
            if not self._tasks:
                self._idle.set()


async def drained(jobs: EndableJobs, calls: Calls) -> None:
    """Return when no job is left, and nobody comes for a result any more."""
    while True:
        await jobs.wait_idle()
        await calls.jobs.wait_free()
        await calls.feeds.wait_free()
        if not jobs.is_idle or calls.jobs.held:
            continue
        quiet = monotonic() - max(jobs.last_kept, calls.last_read)
        if quiet >= LINGER_SECONDS:
            return
        await asyncio.sleep(LINGER_SECONDS - quiet)


def _time_is_over() -> ConnectionFailedError:
    return ConnectionFailedError(
        "the server is shutting down, and the time that it gives running jobs is over; try again on a new connection, "
        "where another server may answer already",
        reason=Reason.SHUTTING_DOWN,
    )
