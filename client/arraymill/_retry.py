"""Trying again: after which failures, when, and for how long. Decided here without a clock or a network.

Two kinds of failure pass by themselves.

A connection that was lost comes back within seconds, or not for long: the call is made again after a random part of a
pause that doubles each time, until `Retry.seconds` have passed since the first failure. The part is random from
nothing to all of it, so that the clients of a server that restarts do not come back in step. So is a call of which a
checksum was wrong.

A busy server says when to come back. It is asked again at that time and a random part of the same pause later, as long
as the call itself may take: load costs waiting. Only where it has no memory left for arrays that it keeps, which may
stay full until somebody deletes some, is it treated as a lost connection.

A pause that would outlast the call is not begun: the error that is known tells more than that time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from time import monotonic
from typing import Final, TypeAlias, TypeVar

from arraymill._limits import Remaining
from arraymill_proto.errors import ArraymillError, BusyError, ConnectionFailedError, CorruptedError, JobCancelledError

T = TypeVar("T")

RETRY_SECONDS: Final = 30.0
"""How long a call is tried again unless the client says otherwise: a server that restarts is back sooner."""

FIRST_PAUSE: Final = 0.1
"""Seconds; gRPC itself does not connect again before."""

LONGEST_PAUSE: Final = 2.0
"""Seconds; the wait for a server that has come back is half of it on average."""

STATUS_DETAIL: Final = "grpc_status"
"""The detail of an error that no server of ours has explained: gRPC's status (see `_errors`)."""

_FULL_DETAIL: Final = "budget_bytes"
"""The detail of a BusyError that speaks of arrays that the server keeps."""

_DENIED: Final = ("PERMISSION_DENIED", "UNAUTHENTICATED")

Passes: TypeAlias = Callable[[ArraymillError], bool]
"""Tells whether a failure may pass."""


def is_passing(error: ArraymillError) -> bool:
    """Tell whether the same call may succeed later.

    What gRPC itself has no room for (a message that is too long) stays so; a job that gRPC says was cancelled was cut
    off by a server that ended.
    """
    status = error.details.get(STATUS_DETAIL)
    if isinstance(error, BusyError):
        return status is None
    if isinstance(error, JobCancelledError):
        return status == "CANCELLED"
    return isinstance(error, ConnectionFailedError | CorruptedError) and status not in _DENIED


class Retry:
    """How long one client tries again, and with what it measures and waits.

    Args:
        seconds: After the first failure; 0: nothing is ever tried again.
        clock: Seconds, monotonic.
        random: Gives numbers from 0 to 1.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        seconds: float = RETRY_SECONDS,
        *,
        clock: Callable[[], float] = monotonic,
        random: Callable[[], float] = random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self.random = random
        self.sleep = sleep

    async def run(self, work: Callable[[int], Awaitable[T]], remaining: Remaining, passes: Passes) -> T:
        """Do something, and again while its failures may pass.

        Args:
            work: Gets the number of attempts before.
            remaining: Of the whole.
            passes: Which failures may pass.

        Raises:
            ArraymillError: That of the last attempt.
        """
        backoff = Backoff(self, passes)
        while True:
            try:
                return await work(backoff.failures)
            except ArraymillError as exc:
                pause = backoff.pause(exc, remaining())
                if pause is None:
                    raise
            await self.sleep(pause)


class Backoff:
    """The pauses after a row of failures."""

    def __init__(self, retry: Retry, passes: Passes, *, seconds: float | None = None) -> None:
        """Begin a row.

        Args:
            retry: The client's.
            passes: Which failures may pass.
            seconds: How long to try again; None: as long as the client.
        """
        self._retry = retry
        self._passes = passes
        self._seconds = retry.seconds if seconds is None else seconds
        self._since: float | None = None
        self.failures = 0

    def reset(self) -> None:
        """Begin a new row: something has succeeded."""
        self._since, self.failures = None, 0

    def pause(self, error: ArraymillError, remaining: float | None = None) -> float | None:
        """Return the seconds until the next attempt; None: there is none.

        Args:
            error: What the last attempt failed with.
            remaining: Seconds that are left for all of it; None: any number.
        """
        if not self._seconds or not self._passes(error):
            return None
        now = self._retry.clock()
        self._since = now if self._since is None else self._since
        told = max(error.retry_after, 0.0) if isinstance(error, BusyError) else 0.0
        pause = told + self._retry.random() * min(FIRST_PAUSE * 2.0 ** min(self.failures, 30), LONGEST_PAUSE)
        self.failures += 1
        if not isinstance(error, BusyError) or _FULL_DETAIL in error.details:
            left = self._since + self._seconds - now
            if left <= 0:
                return None
            pause = min(pause, left)
        return pause if remaining is None or pause < remaining else None
