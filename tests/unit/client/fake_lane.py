"""The bulk port of a fake server: welcomes clients, or misbehaves as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from patience import SECONDS
from unit.client.fake_server import FakeServer, Session, Values, honest
from wire import BulkStream, record_bytes, word_sum

from arraymill import AsyncClient
from arraymill._bulk import BulkLink, BulkRoute
from arraymill_proto.v1 import arraymill_pb2 as pb

SECRET = bytes(range(32))


class FakeLane:
    """Takes the bulk connections of a client's jobs.

    Attributes:
        greeting: What it answers to a hello; empty: it ends the connection; None: nothing.
        hellos: What clients have said first.
        clients: Those that were answered, as they came.
        settled: Set whenever a job of the client has a connection, or cannot have one.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.greeting: bytes | None = b"+"
        self.hellos: list[bytes] = []
        self.clients: asyncio.Queue[BulkStream] = asyncio.Queue()
        self.settled = asyncio.Event()
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._strangers: list[BulkStream] = []
        """Those that were left without an answer."""

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._come, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        if self._listener is not None:
            self._listener.close()
        self.drop_all()

    def drop_all(self) -> None:
        """Break every connection."""
        while self._writers:
            self._writers.pop().transport.abort()

    def welcome_all(self) -> list[BulkStream]:
        """Answer those that were left without an answer."""
        for client in self._strangers:
            client.writer.write(b"+")
        return self._strangers

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.hellos.append(await reader.read(40))
        if self.greeting is None:
            self._strangers.append(BulkStream(reader, writer))
        elif not self.greeting:
            writer.transport.close()
        else:
            writer.write(self.greeting)
            self.clients.put_nowait(BulkStream(reader, writer))

    # ------------------------------------------------------------------ for a session

    async def offer(self, session: Session) -> None:
        """Accept a job and offer it the lane; return when the client has a connection, or cannot have one."""
        self.settled.clear()
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=self.port, secret=SECRET)))
        async with asyncio.timeout(SECONDS):
            await self.settled.wait()

    async def welcome(self, session: Session) -> BulkStream:
        """Offer the lane; return the connection."""
        await self.offer(session)
        return await self.clients.get()

    async def fetch(self, session: Session, client: BulkStream, index: int, piece: int = 1 << 20) -> NDArray[Any]:
        """Ask for a whole input, which is to come as records, one for each want."""
        node = session.inputs[index]
        axes = tuple(node.order or range(len(node.shape)))
        shape = [node.shape[axis] for axis in axes]
        nbytes = int(np.prod(shape)) * node.dtype.itemsize
        data = b""
        for offset in range(0, nbytes, piece):
            length = min(piece, nbytes - offset)
            want = await session.want(index, offset, length, node.order or ())
            header = await client.header()
            piece_data = await client.reader.readexactly(length)
            assert header == (want, offset, length, word_sum(piece_data), index, 1)
            data += piece_data
        return np.frombuffer(data, node.dtype).reshape(shape).transpose(np.argsort(axes) if axes else None)

    async def results(
        self, client: BulkStream, values: Values, order: Sequence[int] = (), record_bytes_: int = 1 << 20
    ) -> None:
        """Send all results as records, the last one first."""
        for index, value in enumerate(values):
            data = (value.transpose(order) if order else value).tobytes()
            for offset in reversed(range(0, len(data), record_bytes_)):
                await client.say(record_bytes(0, index, offset, data[offset : offset + record_bytes_]))


@asynccontextmanager
async def fake_lane(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FakeLane]:
    """An open lane; it hears of what becomes of the client's tries to come in."""
    lane = FakeLane()
    open_link = BulkRoute.open

    async def telling_open(self: BulkRoute, port: int, secret: bytes) -> BulkLink | None:
        try:
            return await open_link(self, port, secret)
        finally:
            lane.settled.set()

    monkeypatch.setattr(BulkRoute, "open", telling_open)
    await lane.open()
    try:
        yield lane
    finally:
        lane.close()


async def run_well(server: FakeServer, mill: AsyncClient) -> None:
    """Run a good job by frames: the client and its connection are unharmed."""
    server.run = honest
    x = np.arange(1000.0)
    assert await mill.sum(x) == x.sum()
