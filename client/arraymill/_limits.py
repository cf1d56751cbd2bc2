"""What bounds a client's calls: how many at once, and how long each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import inf
from operator import index
from typing import Final, SupportsIndex, TypeAlias, cast

from arraymill_proto.errors import DeadlineError, ParameterError
from arraymill_proto.limits import MAX_NAME_CHARS, shorten

LONGEST_SECONDS: Final = 1e9
"""Some 30 years. Longer limits, infinite ones too, are none: gRPC's clock would overflow."""

INFORMATION_SECONDS: Final = 30.0
"""What a question may take where nobody says otherwise."""

JOB_SECONDS: Final = 3600.0
"""What a job may take where nobody says otherwise, beside the time for its bytes."""

SLOWEST_RATE: Final = 1e6
"""Bytes per second for which the time of a job is enough; size alone must end none."""

TIE_SECONDS: Final = 0.1
"""How much before the limit of a call somebody else may tell that its time is over: gRPC has a clock of its own."""

Remaining: TypeAlias = Callable[[], float | None]
"""Tells the seconds that are left, None when there is no limit."""


class Slots:
    """Lets so many jobs run at once; the others wait in the order in which they came.

    A job holds a slot in an `async with` block.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self.running = 0
        self.waiting = 0

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    async def take(self) -> None:
        """Wait for a slot; whoever has it must `leave`. Cancelling the wait leaves the line."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.running += 1

    def leave(self) -> None:
        """Give a slot back."""
        self.running -= 1
        self._free.release()


@asynccontextmanager
async def within(seconds: float | None) -> AsyncGenerator[Remaining]:
    """Cancel the block when it takes longer; None, or more than LONGEST_SECONDS, is no limit.

    Raises:
        DeadlineError: It did.
    """
    if seconds is not None and seconds > LONGEST_SECONDS:
        seconds = None
    try:
        async with asyncio.timeout(seconds) as limit:
            end = limit.when()
            yield lambda: None if end is None else max(end - asyncio.get_running_loop().time(), 0.0)
    except TimeoutError as exc:
        if isinstance(exc, DeadlineError):
            raise
        raise DeadlineError(f"the deadline of {seconds:g} s passed before the answer came") from exc


def job_seconds(nbytes: int) -> float:
    """Return what a job with so many bytes of inputs and results may take where nobody says otherwise."""
    return JOB_SECONDS + nbytes / SLOWEST_RATE


def checked_seconds(name: str, seconds: float | None) -> float | None:
    """Return a number of seconds that makes sense.

    Raises:
        ParameterError: It is no number, or not more than 0.
    """
    try:
        is_positive = seconds is None or seconds > 0
    except TypeError:
        is_positive = False
    if not is_positive:
        raise ParameterError(f"{name} is {seconds!r}, it must be more than 0 seconds", parameter=name)
    return seconds


def checked_text(name: str, value: object) -> str:
    """Return what is a text.

    Raises:
        ParameterError: It is none.
    """
    if not isinstance(value, str):
        raise ParameterError(f"{name} is {shorten(repr(value))}, it must be a text", parameter=name)
    return value


def checked_id(name: str, value: object) -> str:
    """Return what may be the id of a job, or the id or name of an array.

    Raises:
        ParameterError: It is no text, or longer than any.
    """
    text = checked_text(name, value)
    if len(text) > MAX_NAME_CHARS:
        raise ParameterError(
            f"{name} has {len(text):,} characters, ids and names have {MAX_NAME_CHARS} at most", parameter=name
        )
    return text


def checked_count(name: str, value: object, most: float = inf) -> int:
    """Return what is a whole number from 1 to `most`.

    Raises:
        ParameterError: It is none.
    """
    try:
        count = index(cast("SupportsIndex", value))
    except TypeError:
        count = 0
    if isinstance(value, bool) or not 1 <= count <= most:
        bounds = "at least 1" if most == inf else f"1 to {most:,}"
        raise ParameterError(f"{name} is {shorten(repr(value))}, it must be a whole number, {bounds}", parameter=name)
    return count
