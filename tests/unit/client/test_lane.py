"""A job's use of the bulk lane: connections that cannot be had, that break, that bring nonsense, that are given up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc.aio
import numpy as np
import pytest
from descriptors import sockets
from numpy.typing import NDArray
from patience import SECONDS, until
from unit.client.fake_lane import SECRET, FakeLane, run_well
from unit.client.fake_server import FakeServer, Session, fail, honest
from wire import record_bytes

from arraymill import AsyncClient, _bulk, _lane, asarray
from arraymill_proto.errors import ConnectionFailedError, CorruptedError, DTypeError, InternalError
from arraymill_proto.v1 import arraymill_pb2 as pb

Run = Callable[[Session], Awaitable[None]]

X: NDArray[np.float64] = np.linspace(-1.0, 1.0, 30_000).reshape(100, 300)

# ------------------------------------------------------------------ connections that cannot be had


def offered(lane: FakeLane) -> Run:
    """Offer the lane, and go on without it."""

    async def run(session: Session) -> None:
        if session.start.bulk:
            await lane.offer(session)
        await honest(session)

    return run


@pytest.mark.parametrize("greeting", [b"", b"-", b"HTTP/1.1 400 Bad Request\r\n"])
async def test_an_answer_that_is_no_welcome(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, greeting: bytes
) -> None:
    """Everything goes by frames, and the next job does not try."""
    lane.greeting = greeting
    server.run = offered(lane)
    for _ in range(3):
        assert await streaming.sum(X) == X.sum()
    assert [session.start.bulk for session in server.sessions] == [True, False, False]
    assert len(lane.hellos) == 1


async def test_a_refused_connection(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    lane.close()
    server.run = offered(lane)
    for _ in range(2):
        assert await streaming.sum(X) == X.sum()
    assert [session.start.bulk for session in server.sessions] == [True, False]


async def test_the_clients_side_ends_with_the_job(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    """While the server still has the call: a read of it that is under way then ends, too."""
    last: list[object] = []

    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.answer(server.values(session.graph, [await lane.fetch(session, client, 0)]))
        async with asyncio.timeout(SECONDS):
            last.append(await session.context.read())

    server.run = run
    assert await streaming.sum(X) == X.sum()
    assert last == [grpc.aio.EOF]


async def test_after_a_while_it_is_tried_again(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bulk, "PAUSE_SECONDS", 0.0)
    lane.greeting = b""
    server.run = offered(lane)
    for _ in range(2):
        assert await streaming.sum(X) == X.sum()
    assert [session.start.bulk for session in server.sessions] == [True, True]


async def test_no_answer_at_all(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames travel meanwhile; after a while other jobs do not try. A welcome that comes late is still one."""
    monkeypatch.setattr(_bulk, "OPEN_SECONDS", 0.05)
    lane.greeting = None
    came: list[bool] = []

    async def run(session: Session) -> None:
        came.append(session.start.bulk)
        if not session.start.bulk:
            await honest(session)
            return
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        values = server.values(session.graph, [await session.fetch(0)])
        await asyncio.sleep(0.2)
        await session.answer(values)

    server.run = run
    first = asyncio.ensure_future(streaming.sum(X))
    await until(lambda: bool(lane.hellos))
    await asyncio.sleep(0.15)
    assert await streaming.sum(X) == X.sum()
    assert await first == X.sum()
    assert came == [True, False]


async def test_a_late_welcome(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one all the same: the server knows of none that is given up."""
    monkeypatch.setattr(_bulk, "OPEN_SECONDS", 0.05)
    lane.greeting = None

    async def run(session: Session) -> None:
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        await until(lambda: bool(lane.hellos))
        await asyncio.sleep(0.15)
        client = lane.welcome_all()[0]
        await lane.settled.wait()
        values = server.values(session.graph, [await lane.fetch(session, client, 0)])
        await session.answer(values)

    server.run = run
    assert await streaming.sum(X) == X.sum()
    await run_well(server, streaming)
    assert [session.start.bulk for session in server.sessions] == [True, False]


async def test_a_job_that_fails_tells_nothing_of_the_lane(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    """Its server may have withdrawn the offer before the client came."""
    lane.greeting = b""

    async def run(session: Session) -> None:
        await lane.offer(session)
        await fail(session.context, DTypeError("no such dtype"))

    server.run = run
    for _ in range(2):
        with pytest.raises(DTypeError):
            await streaming.sum(X)
    assert [session.start.bulk for session in server.sessions] == [True, True]


async def test_a_job_that_is_done_before_the_client_comes(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    lane.greeting = None

    async def run(session: Session) -> None:
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        await session.answer([np.array(1.0)])

    server.run = run
    for _ in range(2):
        assert await streaming.sum(X) == 1
    assert [session.start.bulk for session in server.sessions] == [True, True]


# ------------------------------------------------------------------ connections that break


async def test_what_was_lost_is_sent_again_by_frames(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        for offset in range(0, X.nbytes, 60_000):
            await session.want(0, offset, 60_000)
        assert (await client.header())[:3] == (1, 0, 60_000)
        await client.reader.readexactly(60_000)
        client.writer.transport.abort()
        await session.send(bulk_ended=pb.BulkEnded())
        lost = {await session.want(0, offset, 60_000): offset for offset in range(60_000, X.nbytes, 60_000)}
        data = dict.fromkeys(lost, b"")
        while any(len(part) < 60_000 for part in data.values()):
            await session.receive(1)
            frame = session.frames[-1]
            if frame.want in lost:  # others were on their way when the connection broke
                data[frame.want] += frame.data
        assert data == {want: X.tobytes()[offset : offset + 60_000] for want, offset in lost.items()}
        await session.answer([np.array(1.0)])

    server.run = run
    assert await streaming.sum(X) == 1
    await run_well(server, streaming)
    assert [session.start.bulk for session in server.sessions] == [True, False], "what broke may break again"


async def test_wants_that_wait_when_the_lane_ends_are_answered_once(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    """The client is busy with a large record, which nobody reads, when it hears of the end."""
    large = np.zeros(64 << 20, np.uint8)

    async def run(session: Session) -> None:
        await lane.welcome(session)
        await session.want(0, 0, large.nbytes)
        for _ in range(5):
            await session.want(0, 0, 8)
        await asyncio.sleep(0.05)
        await session.send(bulk_ended=pb.BulkEnded())
        again = [await session.want(0, 0, 8) for _ in range(6)]
        await session.receive(48)
        assert [frame.want for frame in session.frames] == again
        await session.answer([np.array(1, np.uint64)])

    server.run = run
    assert await streaming.sum(large) == 1


async def test_the_server_may_be_the_first_to_notice(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    """It says that the connection has ended before the client has heard that it stands: then nothing may go there."""
    lane.greeting = None

    async def run(session: Session) -> None:
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        await until(lambda: bool(lane.hellos))
        await session.send(bulk_ended=pb.BulkEnded())
        assert await session.fetch(0, 200_000) is not None
        lane.welcome_all()
        await lane.settled.wait()
        values = server.values(session.graph, [await session.fetch(0, 1000)])
        await session.answer(values)

    server.run = run
    assert await streaming.sum(X) == X.sum()


async def test_results_that_never_come(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.header([np.array(1.0)])
        await client.say(record_bytes(0, 0, 0, bytes(7)))
        await session.done()
        client.writer.transport.close()

    server.run = run
    with pytest.raises(ConnectionFailedError, match="broke while results travelled on it; try again"):
        await streaming.sum(X)
    await run_well(server, streaming)
    assert [session.start.bulk for session in server.sessions] == [True, False], "what broke may break again"


async def test_who_tries_again_does_it_by_frames(server: FakeServer, lane: FakeLane) -> None:
    """The server, too, says that the connection broke."""
    server.info.unary_bytes = 0

    async def run(session: Session) -> None:
        if not session.start.bulk:
            await honest(session)
            return
        client = await lane.welcome(session)
        client.writer.transport.abort()
        await fail(session.context, ConnectionFailedError("the bulk connection broke"))

    server.run = run
    async with AsyncClient(server.address) as mill:
        assert await mill.sum(X) == X.sum()
    assert [session.start.bulk for session in server.sessions] == [True, False]


async def test_a_connection_that_never_stands_and_results_that_never_come(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lane, "OPEN_SECONDS", 0.1)
    lane.greeting = None

    async def run(session: Session) -> None:
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        await session.header([np.array(1.0)])
        await session.done()

    server.run = run
    with pytest.raises(ConnectionFailedError, match="broke while results travelled"):
        await streaming.sum(X)


# ------------------------------------------------------------------ a server that misbehaves


MISBEHAVIOUR: dict[str, tuple[bytes, str]] = {
    "no header": (record_bytes(0, 0, 0, b"", flags=9), "cannot be read: a record of the bulk lane does not begin with"),
    "beyond the end": (record_bytes(0, 0, 1, bytes(8)), "sent bytes 1 to 9 of a result of 8 bytes"),
    "a huge one": (record_bytes(0, 0, 0, b"", length=2**63), "of a result of 8 bytes"),
    "of another output": (record_bytes(0, 1, 0, bytes(8)), "sent output 1 of 1"),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
@pytest.mark.parametrize("is_done", [False, True])
async def test_a_server_that_misbehaves(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, name: str, is_done: bool
) -> None:
    said, text = MISBEHAVIOUR[name]

    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.header([np.array(1.0)])
        if is_done:
            await session.done()
        await client.say(said)
        if not is_done:
            await asyncio.Event().wait()

    server.run = run
    with pytest.raises(InternalError, match=text):
        await streaming.sum(X)
    await run_well(server, streaming)


@pytest.mark.parametrize("nbytes", [8, 4], ids=["contiguous", "an element in two"])
async def test_results_that_changed_on_their_way(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, nbytes: int
) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.header([np.array(1.0)])
        await client.say(record_bytes(0, 0, 0, bytes(nbytes), checksum=1))
        await asyncio.Event().wait()

    server.run = run
    with pytest.raises(CorruptedError, match="arrived other than they were sent"):
        await streaming.sum(X)
    await run_well(server, streaming)


async def test_two_offers(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    """The first one counts."""

    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        values = server.values(session.graph, [await lane.fetch(session, client, 0)])
        await session.answer(values)

    server.run = run
    assert await streaming.sum(X) == X.sum()
    assert len(lane.hellos) == 1


# ------------------------------------------------------------------ ends that the client chooses


async def test_a_job_that_is_cancelled_anywhere_leaves_no_socket(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        values = server.values(session.graph, [await lane.fetch(session, client, 0, 10_000)])
        await session.header(values)
        await lane.results(client, values, record_bytes_=10_000)
        await session.done()

    server.run = run
    rng = random.Random(4)
    await streaming.compute(asarray(X) + 1)
    await until(lambda: len(lane.hellos) == 1)
    lane.drop_all()
    before = sockets()
    for _ in range(25):
        job = asyncio.ensure_future(streaming.compute(asarray(X) + 1))
        await asyncio.sleep(rng.random() ** 2 * 0.03)
        job.cancel()
        if rng.random() < 0.3:
            await asyncio.sleep(0)
            job.cancel()
        await asyncio.wait([job])
    lane.drop_all()
    await until(lambda: sockets() <= before)
