"""A network between a client and a server that a test can slow down, silence and cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

_CHUNK_BYTES: Final = 64 << 10


class Link:
    """Forwards TCP connections to a server.

    Attributes:
        delay: Seconds that every piece takes in either direction.
        cut_after: Cut every connection when so many bytes have passed in both directions; None: never.
        is_silent: Accept connections and bytes, but forward none.
        passed: Bytes that have passed.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = host, int(port)
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self.delay = 0.0
        self.cut_after: int | None = None
        self.is_silent = False
        self.passed = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Listen, on the same port as before."""
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection as a machine does that loses its power line."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        if self._listener is not None:
            self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the test is over
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers.add(server_writer)
        try:
            halves = [
                asyncio.create_task(self._pump(reader, server_writer)),
                asyncio.create_task(self._pump(server_reader, writer)),
            ]
            try:
                await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for half in halves:
                    half.cancel()
                await asyncio.gather(*halves, return_exceptions=True)
        finally:
            server_writer.transport.abort()
            self._writers.discard(server_writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if self.is_silent:
                continue
            if self.delay:
                await asyncio.sleep(self.delay)
            self.passed += len(data)
            if self.cut_after is not None and self.passed > self.cut_after:
                self.cut()
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def link_to(address: str) -> AsyncGenerator[Link]:
    """An open link."""
    link = Link(address)
    await link.open()
    try:
        yield link
    finally:
        await link.close()
