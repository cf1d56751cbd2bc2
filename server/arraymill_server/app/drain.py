"""Jobs that end with the server."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

from arraymill_proto.errors import ConnectionFailedError, Reason
from arraymill_server.jobs.exchange import Exchange
from arraymill_server.jobs.service import Jobs, Report, Request


class EndableJobs(Jobs):
    """All jobs of a server that can be ended at once; their clients are told why.

    gRPC would cut the connections of calls that do not end in time, so that a client could not tell a server that is
    replaced from one that has died.
    """

    @cached_property
    def _ended(self) -> asyncio.Event:
        return asyncio.Event()

    @cached_property
    def _tasks(self) -> set[asyncio.Task[Any]]:
        return set()

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
            raise _shutting_down()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await super().run(request, exchange)
        except asyncio.CancelledError:
            if not self._ended.is_set():
                raise
            task.uncancel()
            raise _shutting_down() from None
        finally:
            self._tasks.discard(task)


def _shutting_down() -> ConnectionFailedError:
    return ConnectionFailedError(
        "the server is shutting down, and the time that it gives running jobs is over; try again when it is back",
        reason=Reason.SHUTTING_DOWN,
    )
