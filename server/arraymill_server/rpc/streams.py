"""What every bidirectional stream needs: its reading half, and the end of its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

import grpc.aio

from arraymill_proto.codec import parse_request
from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

CANCEL_SECONDS: Final = 0.1
"""From the end of a client's half until its job counts as failed for want of input. Whoever cancels ends its half as
well, and gRPC may tell of that first, and of the cancelling a moment later: such jobs are cancelled, not failed."""


LINGER_SECONDS: Final = 0.02
"""What a client has to end its side of a stream once it knows that its job is done, if a read is under way: as a rule
one with a bulk connection. The shipped client does at once; without it gRPC keeps that read for ever."""


class Gate:
    """Lets a stream be read while the client may have something to bring.

    gRPC frees the operation of a read when it has completed, and never when the call ends before. The 96 bytes of each
    job kept the heap around them from being given back: a server grew by 10 MiB in an hour.

    Args:
        wanted_bytes: Returns the bytes that the client was asked for and has not brought.
    """

    def __init__(self, wanted_bytes: Callable[[], int]) -> None:
        self.wanted_bytes: Final = wanted_bytes
        self.is_reading = False
        """Whether a read is under way."""
        self._news = asyncio.Event()

    async def wait(self) -> None:
        """Wait until something is wanted."""
        while not self.wanted_bytes():
            self._news.clear()
            await self._news.wait()

    def open(self) -> None:
        """There is more that is wanted."""
        self._news.set()


class Receiver(Protocol):
    """Where the frames of a client go."""

    def receive(self, frame: FrameView) -> None:
        """Take a frame in, or raise FrameError."""
        ...

    def input_ended(self) -> None:
        """The client sends nothing more."""
        ...

    @property
    def gate(self) -> Gate:
        """When to read."""
        ...


async def begin_stream(context: Context) -> None:
    """Send the initial metadata, which gRPC would send with the first message.

    A handler that fails while its first message is on its way could not tell its client: gRPC sends the initial
    metadata with the status as well, refuses that as too many operations, and the client waits for ever.
    """
    await context.send_initial_metadata(())


async def receive(receiver: Receiver, context: Context) -> None:
    """Read frames until the client ends its half; gRPC receives each while the one before it is copied.

    What a client sends while nothing is wanted of it is not read.

    Raises:
        FrameError: The client sends something else, or frames that do not fit what is wanted.
    """
    gate = receiver.gate
    reading: asyncio.Future[Any] | None = None
    try:
        while True:
            if reading is None:
                await gate.wait()
                reading = asyncio.ensure_future(context.read())
            gate.is_reading = True
            message, reading = await reading, None
            gate.is_reading = False
            if message is grpc.aio.EOF:
                break
            if gate.wanted_bytes() > len(message):
                reading = asyncio.ensure_future(context.read())
                await asyncio.sleep(0)  # the read begins now, not when the copy has ended
            request = parse_request(message)
            if not isinstance(request, FrameView):
                raise FrameError("after Start or Attach the client sends frames only; this message is none")
            receiver.receive(request)
            del message, request
        if gate.wanted_bytes():
            await asyncio.sleep(CANCEL_SECONDS)
        receiver.input_ended()
    finally:
        gate.is_reading = False
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def linger(gate: Gate, reader: asyncio.Future[None]) -> None:
    """Give a client that knows of its job's end the time to end its side, if it is being read.

    Args:
        gate: Of the job.
        reader: What reads.
    """
    if gate.is_reading:
        await asyncio.wait([reader], timeout=LINGER_SECONDS)


async def stop(*tasks: asyncio.Future[Any]) -> None:
    """End tasks and wait until they have ended, whatever happens meanwhile."""
    for task in tasks:
        task.cancel()
    pending = {task for task in tasks if not task.done()}
    while pending:
        with suppress(asyncio.CancelledError):
            _, pending = await asyncio.wait(pending)
    for task in tasks:
        if not task.cancelled():
            task.exception()
