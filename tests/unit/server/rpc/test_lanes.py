"""The lane of frames: what waits for a client that reads slowly is bounded."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from arraymill_proto.graph import Graph, Input
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Started
from arraymill_server.rpc import lanes
from arraymill_server.rpc.lanes import StreamExchange


class Peer:
    """A job that notes what it is told."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.errors: list[BaseException] = []

    def done(self, token: int) -> None:
        self.tokens.append(token)

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)


class Writer:
    """Takes messages."""

    def __init__(self) -> None:
        self.sent: list[pb.RunResponse] = []

    async def write(self, message: bytes) -> None:
        await asyncio.sleep(0)
        self.sent.append(pb.RunResponse.FromString(message))


async def test_of_the_progress_only_the_newest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PROGRESS_SECONDS", -1.0)
    writer = Writer()
    exchange = StreamExchange(Graph((Input((8,), np.dtype("u1")),), (0,)), writer, 60.0)
    exchange.start(Started("job", 0, 1000, (), is_kept=True), Peer())
    for blocks in range(1000):
        exchange.progress(blocks)
    exchange.close()
    await exchange.send_all()
    exchange.end()
    kinds = [(message.WhichOneof("message"), message.progress.blocks_done) for message in writer.sent]
    assert kinds == [("accepted", 0), ("progress", 999)]
