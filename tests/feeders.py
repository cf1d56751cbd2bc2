"""A submitted job without a server, and clients that feed it."""

from __future__ import annotations

import asyncio
from random import Random

import numpy as np
from patience import until

from arraymill_proto.frames import FrameView
from arraymill_proto.graph import Graph, Input
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Started
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.feed import FedExchange

INPUT_BYTES = 40_000
DATA = Random(4).randbytes(INPUT_BYTES)
GRAPH = Graph((Input((INPUT_BYTES,), np.dtype("u1")), Input((3,), np.dtype("u1"), None, b"abc")), (0,))


class Client:
    """Whoever feeds a job."""

    def __init__(self, job: Job, listener: BulkListener | None = None) -> None:
        self.sent: list[pb.RunResponse] = []
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self._context = job.exchange.attached(self, listener)
        self.session = self._context.__enter__()

    async def write(self, message: bytes) -> None:
        await self.is_reading.wait()
        await asyncio.sleep(0)
        self.sent.append(pb.RunResponse.FromString(message))

    def leave(self) -> None:
        self._context.__exit__(None, None, None)

    def frame(self, want: int, start: int, end: int) -> None:
        self.session.receive(FrameView(want, 0, start, memoryview(DATA)[start:end]))

    @property
    def told(self) -> list[str]:
        """What it was told, in brief."""
        return [_brief(message) for message in self.sent]

    @property
    def secret(self) -> bytes:
        return self.sent[0].accepted.bulk.secret


def _brief(message: pb.RunResponse) -> str:
    kind, want = message.WhichOneof("message") or "", message.want
    return f"want {want.want}: {want.offset}+{want.length}" if kind == "want" else kind


class Job:
    """A job that asks for ranges of its input, and notes what it hears."""

    def __init__(self, stall_seconds: float = 60.0) -> None:
        self.exchange = FedExchange(GRAPH, stall_seconds)
        self.memory = bytearray(INPUT_BYTES)
        self.tokens: list[int] = []
        self.errors: list[BaseException] = []

    def done(self, token: int) -> None:
        self.tokens.append(token)

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)

    def start(self) -> None:
        self.exchange.start(Started("j7", 4096, 9, (), is_kept=True), self)

    def want(self, offset: int, nbytes: int) -> None:
        """Ask for a range; the token is its offset."""
        target = memoryview(self.memory)[offset : offset + nbytes]
        self.exchange.want(Wanted(0, offset, nbytes, (0,)), target, offset)

    def has(self, end: int, start: int = 0) -> bool:
        """Whether a range of its input lies where it belongs."""
        return bytes(self.memory[start:end]) == DATA[start:end]

    async def attach(self, told: int, listener: BulkListener | None = None) -> Client:
        """Let a client come, and hear so much."""
        client = Client(self, listener)
        await until(lambda: len(client.sent) == told)
        return client
