"""A call without a network: what its handler sees of it, and what its client does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class MemoryCall:
    """A stream of messages in both directions. It stands in for gRPC's ServicerContext.

    As with gRPC a message is on its way until the client reads it, even if its writer has been cancelled, and no other
    may be written meanwhile.

    Args:
        client: Whose call it is.
        eof: What a handler reads when the client has ended its half.
    """

    def __init__(self, client: str, eof: object) -> None:
        self._client = client
        self._eof = eof
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()
        self._reading = asyncio.Event()
        self._reading.set()
        self._is_writing = False
        self._failure: Exception | None = None
        self.sent: list[bytes] = []
        """What the client has got."""
        self.status: Any = None
        """With which the handler has ended the call."""
        self.on_done: Callable[[Any], None] = lambda _: None
        """What the handler wants to be called when the call has ended."""

    def __repr__(self) -> str:
        return f"<MemoryCall of {self._client}: {self._incoming.qsize()} to be read, {len(self.sent)} sent>"

    # ------------------------------------------------------------------ the client

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._incoming.put_nowait(message)

    def end(self) -> None:
        """Send nothing more."""
        self._incoming.put_nowait(self._eof)

    def pause(self) -> None:
        """Read nothing more until `resume`: the handler's writes wait."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._is_writing = False
        self._reading.set()

    def vanish(self, error: Exception) -> None:
        """Let everything that the handler writes from now on fail."""
        self._failure = error
        self._reading.set()

    # ------------------------------------------------------------------ the handler

    def peer(self) -> str:
        return self._client

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.on_done = callback

    async def read(self) -> Any:
        return await self._incoming.get()

    async def send_initial_metadata(self, _: tuple[()]) -> None:
        """The client looks at messages only."""

    async def write(self, message: bytes) -> None:
        if self._is_writing:
            raise AssertionError("a message is on its way already")
        self._is_writing = not self._reading.is_set()
        await self._reading.wait()
        if self._failure is not None:
            raise self._failure
        self.sent.append(message)

    async def abort_with_status(self, status: Any) -> None:
        """Note the status; the handler must raise."""
        self.status = status
        raise RuntimeError("the call is over")
