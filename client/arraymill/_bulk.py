"""The client's side of the bulk lane: array bytes on a plain socket beside the gRPC stream of their job.

Where it cannot be had, nothing is lost: frames carry everything, and nobody is told.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Self, TypeAlias

from arraymill._sink import ResultSink
from arraymill_proto.bulk import (
    HEADER_BYTES,
    WELCOME,
    Record,
    decode_header,
    encode_header,
    encode_hello,
    tune,
)
from arraymill_proto.errors import FrameError, InternalError
from arraymill_proto.limits import RECORD_BYTES

LEAST_BYTES: Final = 8 << 20
"""Least input or result for which a bulk connection pays: opening one costs as much as some frames."""

OPEN_SECONDS: Final = 5.0
"""Time after which a connection that does not stand counts as failed for other jobs. Its own job waits on: frames
travel meanwhile, and the server must not have welcomed a connection that is given up."""

PAUSE_SECONDS: Final = 60.0
"""Time without another try after one has failed: something between here and there may let no such connection pass."""

Announced: TypeAlias = Callable[[], Awaitable[Sequence[ResultSink]]]


class BulkRoute:
    """The way to the bulk lanes of one server.

    Args:
        address: Of the server, in the form of `_address.resolve`.
        is_wanted: False: never use it.
    """

    def __init__(self, address: str, *, is_wanted: bool) -> None:
        host = "" if address.startswith("unix:") else address.rpartition(":")[0]
        self._host = host.removeprefix("[").removesuffix("]")
        self._is_wanted = is_wanted and bool(host)
        self._paused_until = 0.0

    def suits(self, nbytes: int, port: int) -> bool:
        """Tell whether to ask for a lane.

        Args:
            nbytes: The larger of all inputs and all results of the job.
            port: Of the server's bulk lane; 0 for none.
        """
        return self._is_wanted and port > 0 and nbytes >= LEAST_BYTES and monotonic() >= self._paused_until

    def pause(self) -> None:
        """Suit no job for a while: a connection could not be had, or broke."""
        self._paused_until = monotonic() + PAUSE_SECONDS

    async def open(self, port: int, secret: bytes) -> BulkLink | None:
        """Open a connection, however long that takes; None when it fails."""
        slow = asyncio.get_running_loop().call_later(OPEN_SECONDS, self.pause)
        try:
            return await BulkLink.open(self._host, port, secret)
        except (OSError, EOFError):
            return None
        finally:
            slow.cancel()


class BulkLink:
    """The bulk connection of one job.

    Args:
        sock: Connected and welcomed, non-blocking; the link closes it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self.is_open = True

    @classmethod
    async def open(cls, host: str, port: int, secret: bytes) -> Self:
        """Connect to the first address of a host that answers, and say hello.

        Raises:
            OSError: No address can be reached.
            EOFError: Whoever answers does not know the secret.
        """
        loop = asyncio.get_running_loop()
        error = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                sock = socket.socket(family, kind, protocol)
                await _introduce(sock, address, secret)
            except OSError as exc:
                error = exc
            else:
                return cls(sock)
        raise error

    async def send(self, record: Record, data: memoryview) -> None:
        """Send a range of an input.

        Raises:
            OSError: The connection broke. Nobody knows how far this and earlier ranges came; the server will ask again.
        """
        rest = [memoryview(encode_header(record)), data]
        with suppress(BlockingIOError, InterruptedError):  # both in one go, so that the header wakes nobody up
            sent = self._sock.sendmsg(rest)
            rest = [part[max(0, sent - begin) :] for part, begin in zip(rest, (0, len(rest[0])), strict=True)]
        for part in rest:
            if part:
                await self._loop.sock_sendall(self._sock, part)

    async def receive_into(self, announced: Announced) -> None:
        """Place results until all are complete or the connection ends, without an error then.

        Args:
            announced: Gives the sinks of the results as soon as the server has said what they are.

        Raises:
            InternalError: The server sends what is no result.
        """
        header = bytearray(HEADER_BYTES)
        with suppress(OSError, EOFError):
            while True:
                await self._fill(memoryview(header))
                record = _record(header)
                sinks = await announced()
                if record.index >= len(sinks):
                    raise InternalError(f"the server sent output {record.index} of {len(sinks)}")
                await self._receive(record, sinks[record.index])
                if all(sink.is_complete for sink in sinks):
                    return

    def end(self) -> None:
        """Use the connection no more; whoever sends or receives on it is woken up. Safe to call twice."""
        self.is_open = False
        with suppress(OSError):  # it has ended already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back; nobody may wait on it any more."""
        self.is_open = False
        self._sock.close()

    async def _receive(self, record: Record, sink: ResultSink) -> None:
        target = sink.target(record.offset, record.length)
        if target is not None:
            await self._fill(target)
            record.verify(target)
            sink.filled(record.offset, record.length)
            return
        if record.length > RECORD_BYTES:
            raise InternalError(f"the server sent a record of {record.length:,} bytes, the most are {RECORD_BYTES:,}")
        data = memoryview(bytearray(record.length))
        await self._fill(data)
        record.verify(data)
        sink.place(record.offset, data)

    async def _fill(self, target: memoryview) -> None:
        while target:
            count = await self._loop.sock_recv_into(self._sock, target[:RECORD_BYTES])
            if not count:
                raise EOFError("the server has ended the connection")
            target = target[count:]
            await asyncio.sleep(0)  # where bytes are always waiting nothing else would ever run


async def _introduce(sock: socket.socket, address: Any, secret: bytes) -> None:
    """Connect and be welcomed; closes the socket when that fails.

    Raises:
        OSError: The address cannot be reached.
        EOFError: Whoever answers does not know the secret.
    """
    loop = asyncio.get_running_loop()
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        tune(sock)
        await loop.sock_sendall(sock, encode_hello(secret))
        if await loop.sock_recv(sock, len(WELCOME)) != WELCOME:
            raise EOFError("the secret is not known there")
    except BaseException:
        sock.close()
        raise


def _record(header: bytearray) -> Record:
    try:
        return decode_header(header)
    except FrameError as exc:
        raise InternalError(f"what the server sent on the bulk connection cannot be read: {exc}") from exc
