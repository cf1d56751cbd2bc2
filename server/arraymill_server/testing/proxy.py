"""A TCP proxy between clients and a server: the network that a test can slow down, hold, halve and cut.

It listens on another address of this machine, at the very ports of the server. So nothing that travels need be
rewritten: the client finds the bulk lane, whose port the server names, on the host of its call, which is the proxy.

    async with Proxy("127.0.0.1", "127.0.0.2", (50051, 50052)) as proxy:
        proxy.weather = Weather(latency_seconds=0.02, bytes_per_second=1 << 20)
        await proxy.passes(1 << 20)        # wait until so much more has passed
        proxy.cut()

What happens to a connection is one of

    cut      both ends find the end of file, and what was under way is lost
    reset    both ends find ECONNRESET
    halved   the server finds the end of file, the client goes on reading: half a close
    held     nothing passes until `release`; nobody is told
    lost     all that is sent vanishes, for good; nobody is told: a peer without power, a router that forgot
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

CHUNK_BYTES: Final = 64 << 10
"""Most bytes that are read at a time."""

WINDOW: Final = 64
"""Chunks that may be under way in one direction of a connection: 4 MiB, as of a long and fat line."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network is."""

    latency_seconds: float = 0.0
    """In either direction."""
    bytes_per_second: float = float("inf")
    """Of all connections together, in either direction."""
    slice_bytes: int = CHUNK_BYTES
    """Most bytes that arrive in one piece."""

    @property
    def chunk_bytes(self) -> int:
        """Bytes that are read at a time: on a narrow line what it carries in some milliseconds."""
        return int(min(CHUNK_BYTES, max(1.0, self.bytes_per_second / 100)))


class Proxy:
    """Forwards TCP connections to a server, port by port.

    Args:
        target: The server's host.
        host: Where to listen.
        ports: At which both listen.
    """

    def __init__(self, target: str, host: str, ports: Sequence[int]) -> None:
        self._target = target
        self._host = host
        self._ports = ports
        self._listeners: list[asyncio.Server] = []
        self._pairs: dict[_Pair, asyncio.Task[None]] = {}
        self._watches: list[tuple[int, asyncio.Future[None]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.weather = Weather()
        self.free_at = {"up": 0.0, "down": 0.0}
        """When the line has carried what was sent before, on the loop's clock."""
        self.passed_bytes = 0
        """In both directions, since the start."""
        self.accepted = 0
        """Connections, since the start."""

    def __repr__(self) -> str:
        state = "open" if self.gate.is_set() else "held"
        return f"<Proxy to {self._target}: {state}, {len(self._pairs)} connections, {self.passed_bytes:,} bytes passed>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: A port is taken at this address.
        """
        for port in self._ports:
            self._listeners.append(await asyncio.start_server(self._accept, self._host, port))

    async def close(self) -> None:
        """Refuse connections from now on, and cut those that stand; `open` opens it again."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self.cut()
        tasks = list(self._pairs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ faults

    def cut(self) -> None:
        """End every connection; what is under way is lost."""
        for pair in list(self._pairs):
            pair.abort()

    def reset(self) -> None:
        """End every connection with RST."""
        for pair in list(self._pairs):
            pair.reset()

    def halve(self) -> None:
        """Close the half of every connection that leads to the server."""
        for pair in list(self._pairs):
            pair.halve()

    def hold(self) -> None:
        """Let nothing pass until `release`."""
        self.gate.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self.gate.set()

    def lose(self) -> None:
        """Forget every connection that stands now, and tell nobody; new ones are served."""
        for pair in list(self._pairs):
            pair.is_lost = True

    async def passes(self, nbytes: int) -> None:
        """Return when so many more bytes have passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches.append((self.passed_bytes + nbytes, future))
        await future

    def note(self, nbytes: int) -> None:
        """Count bytes that have passed."""
        self.passed_bytes += nbytes
        for watch in [watch for watch in self._watches if watch[0] <= self.passed_bytes]:
            self._watches.remove(watch)
            if not watch[1].done():
                watch[1].set_result(None)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        port: int = writer.get_extra_info("sockname")[1]
        try:
            await self.gate.wait()
            server_reader, server_writer = await asyncio.open_connection(self._target, port)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        pair = _Pair(self, (reader, writer), (server_reader, server_writer))
        self._pairs[pair] = task
        try:
            await pair.run()
        except (OSError, asyncio.CancelledError):
            pass  # either end is gone, or the proxy is
        finally:
            pair.abort()
            del self._pairs[pair]


class _Pair:
    """One connection: from the client to here, and from here to the server."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.is_lost = False
        self._writers = client[1], server[1]
        self._up = _Direction(self, proxy, "up", client[0], server[1])
        self._down = _Direction(self, proxy, "down", server[0], client[1])

    async def run(self) -> None:
        """Forward until both directions have ended."""
        work = [asyncio.ensure_future(half()) for way in (self._up, self._down) for half in (way.take, way.give)]
        try:
            await asyncio.gather(*work)
        finally:
            for half in work:
                half.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def reset(self) -> None:
        for writer in self._writers:
            sock: socket.socket = writer.get_extra_info("socket")
            if sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def halve(self) -> None:
        self._up.end()


class _Direction:
    """One direction of a connection: chunks are taken as they come and given when they are due."""

    def __init__(
        self, pair: _Pair, proxy: Proxy, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._pair = pair
        self._proxy = proxy
        self._name = name
        self._reader = reader
        self._writer = writer
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(WINDOW)
        self._has_ended = False

    async def take(self) -> None:
        """Read chunks, and note when each has crossed the line."""
        clock = asyncio.get_running_loop().time
        while data := await self._reader.read(self._proxy.weather.chunk_bytes):
            weather, line = self._proxy.weather, self._proxy.free_at
            sent = line[self._name] = max(clock(), line[self._name]) + len(data) / weather.bytes_per_second
            await self._room.acquire()
            self._chunks.append((sent + weather.latency_seconds, data))
            self._news.set()
        self._chunks.append((clock() + self._proxy.weather.latency_seconds, b""))
        self._news.set()

    async def give(self) -> None:
        """Write chunks when they are due."""
        clock = asyncio.get_running_loop().time
        while True:
            while not self._chunks:
                self._news.clear()
                await self._news.wait()
            due, data = self._chunks.popleft()
            await asyncio.sleep(max(0.0, due - clock()))
            await self._proxy.gate.wait()
            if not data:
                break
            self._room.release()
            if not self._pair.is_lost:
                await self._write(data)
        if not self._pair.is_lost:
            self.end()

    def end(self) -> None:
        """Tell the receiver that nothing more comes."""
        if not self._has_ended and not self._writer.is_closing():
            self._has_ended = True
            self._writer.write_eof()

    async def _write(self, data: bytes) -> None:
        step = self._proxy.weather.slice_bytes
        for start in range(0, len(data), step):
            if self._has_ended or self._writer.is_closing():
                return
            self._writer.write(data[start : start + step])
            if step < len(data):
                await asyncio.sleep(0)
        await self._writer.drain()
        self._proxy.note(len(data))
