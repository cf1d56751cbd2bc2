"""The lanes of a job: what waits for a slow client is bounded, and a bulk connection that breaks is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

import numpy as np
import pytest
from patience import turns, until
from wire import BulkStream, bulk_stream, hello_bytes, record_bytes

from arraymill_proto.errors import ConnectionFailedError, DeadlineError, FrameError
from arraymill_proto.frames import FrameView
from arraymill_proto.graph import Graph, Input
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Started
from arraymill_server.listen import Address
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc import bulk, lanes
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.lanes import StreamExchange

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]

INPUT_BYTES = 40_000
DATA = Random(3).randbytes(INPUT_BYTES)
GRAPH = Graph((Input((INPUT_BYTES,), np.dtype("u1")),), (0,))
PATTERN = 0xA5


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


# ------------------------------------------------------------------ the bulk lane


class Talk:
    """A job's exchange, and the client that the job talks to."""

    def __init__(self, exchange: StreamExchange, writer: Writer, listener: BulkListener) -> None:
        self.exchange = exchange
        self.writer = writer
        self.listener = listener
        self.peer = Peer()
        self.memory = bytearray(INPUT_BYTES)
        """Where the input belongs."""
        exchange.start(Started("job", 0, 1, (), is_kept=False), self.peer)

    def want(self, offset: int, nbytes: int) -> None:
        """Ask for a range; the token is its offset."""
        target = memoryview(self.memory)[offset : offset + nbytes]
        self.exchange.want(Wanted(0, offset, nbytes, (0,)), target, offset)

    def frame(self, want: int, start: int, end: int) -> None:
        self.exchange.receive(FrameView(want, 0, start, memoryview(DATA)[start:end]))

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[BulkStream]:
        """The client, with its bulk connection."""
        await self.said("accepted")
        async with bulk_stream(self.listener.port) as client:
            await client.greet(self.secret)
            yield client

    @property
    def secret(self) -> bytes:
        return self.writer.sent[0].accepted.bulk.secret

    async def said(self, kind: str) -> None:
        await until(lambda: kind in self.kinds())

    def kinds(self) -> list[str]:
        """What the stream has brought, in brief."""
        return [_brief(message) for message in self.writer.sent]


def _brief(message: pb.RunResponse) -> str:
    kind = message.WhichOneof("message") or ""
    return f"want {message.want.want}" if kind == "want" else kind


@asynccontextmanager
async def talk(stall_seconds: float = 60.0) -> AsyncGenerator[Talk]:
    listener = BulkListener.open([Address("127.0.0.1")], 0)
    assert listener is not None
    writer = Writer()
    exchange = StreamExchange(GRAPH, writer, stall_seconds, listener)
    talk = Talk(exchange, writer, listener)
    sending = asyncio.ensure_future(exchange.send_all())
    try:
        yield talk
    finally:
        exchange.close()
        async with asyncio.timeout(20):
            await sending
        exchange.end()
        await listener.close()


def record(want: int, start: int, end: int) -> bytes:
    return record_bytes(want, 0, start, DATA[start:end])


def outgoing(nbytes: int, *outputs: int) -> Outgoing:
    return Outgoing(outputs or (0,), 0, memoryview(bytes(nbytes)))


async def test_only_a_client_that_asks_is_offered_the_lane() -> None:
    writer = Writer()
    exchange = StreamExchange(GRAPH, writer, 60.0)
    exchange.start(Started("job", 0, 1, (), is_kept=True), Peer())
    exchange.close()
    await exchange.send_all()
    exchange.end()
    assert not writer.sent[0].accepted.HasField("bulk")


async def test_an_input_by_both_lanes() -> None:
    async with talk() as job:
        for offset in (0, 10_000, 20_000):
            job.want(offset, 10_000)
        async with job.client() as client:
            job.frame(1, 0, 5000)
            await client.say(record(2, 10_000, 20_000) + record(1, 5000, 9000) + record(1, 5000, 9000))
            await until(lambda: job.peer.tokens == [10_000])
            job.frame(3, 20_000, 30_000)
            job.frame(1, 9000, 10_000)
            await until(lambda: job.peer.tokens == [10_000, 20_000, 0])
            assert job.exchange.received_bytes == 30_000
        assert job.memory[:30_000] == DATA[:30_000]
        assert not job.peer.errors


async def test_an_input_of_one_want_by_both_lanes_at_once() -> None:
    """Whole frames of what is just arriving as a record: it is complete when the record has arrived."""
    async with talk() as job:
        job.want(0, 10_000)
        async with job.client() as client:
            await client.say(record(1, 0, 10_000)[:5000])
            await until(lambda: bytes(job.memory[4900:4960]) == DATA[4900:4960])
            for start in range(0, 10_000, 1000):
                job.frame(1, start, start + 1000)
            await turns(10)
            assert not job.peer.tokens
            await client.say(record(1, 0, 10_000)[5000:])
            await until(lambda: job.peer.tokens == [0])
        assert job.memory[:10_000] == DATA[:10_000]


async def test_large_ranges_of_results_go_by_the_lane() -> None:
    async with talk() as job:
        async with job.client() as client:
            job.exchange.send(outgoing(lanes.BULK_RANGE_BYTES - 1), 1)
            job.exchange.send(outgoing(lanes.BULK_RANGE_BYTES, 0, 1), 2)
            assert [len((await client.record())[2]) for _ in range(2)] == [lanes.BULK_RANGE_BYTES] * 2
            await until(lambda: sorted(job.peer.tokens) == [1, 2])
            assert job.exchange.sent_bytes == 3 * lanes.BULK_RANGE_BYTES - 1
        assert job.kinds() == ["accepted", "header", "frame"]


async def test_a_connection_that_breaks_while_inputs_travel() -> None:
    async with talk() as job:
        for offset in (0, 10_000, 20_000):
            job.want(offset, 10_000)
        async with job.client() as client:
            job.frame(1, 0, 10_000)
            job.frame(3, 20_000, 21_000)
            await client.say(record(2, 10_000, 15_000) + record(2, 15_000, 20_000)[:3000])
            await until(lambda: job.exchange.received_bytes == 16_000)
        await job.said("bulk_ended")
        await until(lambda: job.kinds()[-1] == "want 5")
        assert job.kinds() == ["accepted", "header", "want 1", "want 2", "want 3", "bulk_ended", "want 4", "want 5"]
        assert job.exchange.received_bytes == 16_000, "what came without a gap"
        job.frame(3, 21_000, 30_000)  # was on its way
        job.frame(4, 15_000, 20_000)
        job.frame(5, 21_000, 30_000)
        assert job.peer.tokens == [0, 10_000, 20_000]
        assert job.memory[:30_000] == DATA[:30_000]
        assert (job.exchange.received_bytes, job.peer.errors) == (30_000, [])
        job.exchange.send(outgoing(1 << 20), 1)
        await job.said("frame")


async def test_results_that_wait_when_the_connection_breaks_go_by_frames() -> None:
    async with talk() as job:
        async with job.client():
            job.exchange.bulk_opened(silent := _Silent())
            job.exchange.send(outgoing(1 << 20), 7)
            assert not job.peer.tokens
            job.exchange.bulk_lost(silent)
        await job.said("frame")
        assert job.peer.tokens == [7]
        assert not job.peer.errors


class _Silent(bulk.BulkConnection):
    """A connection that has sent nothing yet."""

    def __init__(self) -> None:
        self.has_sent = False
        self._results: list[tuple[Outgoing, int]] = []

    @property
    def is_sending(self) -> bool:
        return bool(self._results)

    def send(self, outgoing: Outgoing, token: int) -> None:
        self._results.append((outgoing, token))

    def unsent(self) -> list[tuple[Outgoing, int]]:
        return self._results

    def close(self) -> None: ...


async def test_a_connection_that_breaks_while_results_travel() -> None:
    async with talk() as job:
        async with job.client() as client:
            job.exchange.send(outgoing(32 << 20), 7)
            await client.reader.readexactly(1000)
        await until(lambda: bool(job.peer.errors))
        (error,) = job.peer.errors
        assert isinstance(error, ConnectionFailedError)
        assert "broke while results travelled on it; try again" in str(error)
        assert not job.peer.tokens


@pytest.mark.parametrize(
    "said",
    [
        record_bytes(1, 0, 0, b"x", flags=2),
        record_bytes(2, 0, 0, b"x"),
        record_bytes(1, 1, 0, b"x"),
        record_bytes(1, 0, 9_999, b"xx"),
        record_bytes(1, 0, 0, b"", length=2**63),
        record(1, 0, 5000) + record(1, 4000, 6000),
    ],
)
async def test_a_client_that_sends_what_it_must_not(said: bytes) -> None:
    async with talk() as job:
        job.want(0, 10_000)
        async with job.client() as client:
            await client.say(said)
            await until(lambda: bool(job.peer.errors))
            assert isinstance(job.peer.errors[0], FrameError)
            await client.ended()


async def test_an_offer_ends_with_its_call() -> None:
    async with talk() as job:
        await job.said("accepted")
        job.exchange.end()
        async with bulk_stream(job.listener.port) as client:
            await client.say(hello_bytes(job.secret))
            assert await client.ended() == b""


async def test_a_client_that_comes_when_the_job_has_ended() -> None:
    async with talk() as job:
        job.want(0, 10_000)
        await job.said("accepted")
        job.exchange.close()
        job.memory[:] = bytes([PATTERN]) * INPUT_BYTES
        async with bulk_stream(job.listener.port) as client:
            await client.say(hello_bytes(job.secret) + record(1, 0, 10_000))
            await client.ended()
        assert set(job.memory) == {PATTERN}
        assert not job.peer.errors


def test_when_the_job_has_ended_no_byte_of_its_memory_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is half there, and the client goes on sending, whatever else it has been asked for."""
    monkeypatch.setattr(bulk, "PIECE_BYTES", 500)

    async def end_after(count: int) -> int:
        async with talk() as job:
            job.want(0, 30_000)
            job.want(30_000, 10_000)
            async with job.client() as client:
                await client.say(record(1, 0, 30_000)[:20_000])
                await turns(count)
                came = INPUT_BYTES - job.memory.count(0)
                job.exchange.close()
                job.memory[:] = bytes([PATTERN]) * INPUT_BYTES
                client.writer.write(record(1, 0, 30_000)[20_000:] + record(2, 30_000, 40_000))
                await client.ended()
                await turns(5)
            assert set(job.memory) == {PATTERN}
            assert not job.peer.tokens
        return came

    async def main() -> None:
        amounts = [await end_after(count) for count in range(0, 60, 3)]
        assert any(0 < came < 19_000 for came in amounts), amounts

    run(main())


# ------------------------------------------------------------------ clients that do not move


async def test_who_does_not_read_the_lane_stalls() -> None:
    async with talk(stall_seconds=0.3) as job, job.client():
        job.exchange.send(outgoing(32 << 20), 7)
        await asyncio.wait([job.exchange.stalled], timeout=20)
        with pytest.raises(DeadlineError, match=r"does not read its results and nothing moved for 0\.3 s"):
            job.exchange.stalled.result()


async def test_who_does_not_feed_the_lane_stalls() -> None:
    """What nobody needs is no move, nor is a header."""
    async with talk(stall_seconds=0.3) as job:
        job.want(0, 100)
        job.want(100, 100)
        async with job.client() as client:
            await client.say(record(1, 0, 100))
            while not job.exchange.stalled.done():
                await client.say(record(1, 0, 100)[:50])
                await asyncio.wait([job.exchange.stalled], timeout=0.02)
                await client.say(record(1, 0, 100)[50:])
        with pytest.raises(DeadlineError, match=r"has sent 0 of 100 bytes of input 0 from offset 100 on \(want 2\)"):
            job.exchange.stalled.result()


async def test_who_feeds_and_reads_slowly_does_not_stall() -> None:
    async with talk(stall_seconds=0.6) as job:
        job.want(0, 20)
        async with job.client() as client:
            await client.say(record_bytes(1, 0, 0, b"", length=20))
            for place in range(20):
                await asyncio.sleep(0.04)
                await client.say(DATA[place : place + 1])
            await until(lambda: job.peer.tokens == [0])
        assert not job.exchange.stalled.done()
