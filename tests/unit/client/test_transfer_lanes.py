"""Jobs on a Run stream with a bulk connection beside it: arrays on both, in every mixture."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from patience import until
from unit.client.fake_lane import SECRET, FakeLane, run_well
from unit.client.fake_server import FakeServer, Session
from wire import record_bytes

from arraymill import AsyncClient, asarray
from arraymill_proto.limits import RECORD_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

X: NDArray[np.float64] = np.linspace(-1.0, 1.0, 30_000).reshape(100, 300)

LAYOUTS: dict[str, NDArray[Any]] = {
    "C": X,
    "Fortran": np.asfortranarray(X),
    "strided": X[::2, ::-3],
    "big-endian": X.astype(">f8"),
    "read-only": np.broadcast_to(X[0], X.shape),
    "small integers": np.arange(7, dtype=np.int8),
}

# ------------------------------------------------------------------ arrays on the lane


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("piece", [999, 1 << 20])
async def test_arrays_of_any_layout(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, layout: str, piece: int
) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        inputs = [await lane.fetch(session, client, 0, piece)]
        values = server.values(session.graph, inputs)
        await session.header(values)
        await lane.results(client, values, record_bytes_=piece)
        await session.done()
        assert not session.frames

    server.run = run
    x = LAYOUTS[layout]
    assert np.array_equal(await streaming.compute(asarray(x) + 1), x + 1)
    assert lane.hellos == [b"ambulk1\n" + SECRET]


async def test_a_want_of_many_records(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    """Records are no larger than the client gathers at once."""
    large = np.arange(10 << 20, dtype=np.uint8)[::-1]

    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await session.want(0, 5, large.nbytes - 5)
        data, offset = b"", 5
        while offset < large.nbytes:
            want, start, length, _, index, _ = await client.header()
            assert (want, start, index) == (1, offset, 0)
            assert length <= RECORD_BYTES
            data += await client.reader.readexactly(length)
            offset += length
        assert data == large[5:].tobytes()
        await session.answer([np.array(1, np.uint64)])

    server.run = run
    assert await streaming.sum(large) == 1


async def test_the_rest_of_a_want_by_a_connection_that_opens_meanwhile(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    large = np.arange(24 << 20, dtype=np.uint8)
    lane.greeting = None

    async def run(session: Session) -> None:
        await session.send(accepted=pb.Accepted(job_id="job", bulk=pb.Bulk(port=lane.port, secret=SECRET)))
        await session.want(0, 0, large.nbytes)
        data = await session.receive(1 << 20)
        await until(lambda: bool(lane.hellos))
        client = lane.welcome_all()[0]
        await lane.settled.wait()
        header, frame = asyncio.ensure_future(client.header()), asyncio.ensure_future(session.receive(1 << 20))
        while not header.done() or len(data) < header.result()[1]:
            await asyncio.wait([frame] if header.done() else [header, frame], return_when=asyncio.FIRST_COMPLETED)
            if frame.done():
                data += frame.result()
                frame = asyncio.ensure_future(session.receive(1 << 20))
        _, offset, length, *_ = header.result()
        assert len(data) == offset < large.nbytes, "what frames had brought does not come again"
        while offset < large.nbytes:
            data += await client.reader.readexactly(length)
            offset += length
            if offset < large.nbytes:
                _, start, length, *_ = await client.header()
                assert start == offset
        assert data == large.tobytes()
        frame.cancel()
        await session.answer([np.array(1, np.uint64)])

    server.run = run
    assert await streaming.sum(large) == 1


@pytest.mark.parametrize("outs", ["new", "strided", "an input"])
async def test_results_by_both_lanes_in_any_order(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient, outs: str
) -> None:
    """And the end of the job is told before the last of them."""
    x = X.copy()
    out = {"new": None, "strided": np.zeros((200, 300))[::2], "an input": x}[outs]

    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        values = server.values(session.graph, [await lane.fetch(session, client, 0)])
        data = values[0].tobytes()
        await session.header(values)
        await client.say(record_bytes(0, 0, 100_001, data[100_001:200_003]))
        await session.frame(0, 0, data[:100_001])
        await session.done()
        await asyncio.sleep(0.05)
        for start in range(200_003, len(data), 10_000):
            await client.say(record_bytes(0, 0, start, data[start : start + 10_000]))

    server.run = run
    result = await streaming.compute(asarray(x) * 2, out=out)
    assert np.array_equal(result, X * 2)
    assert out is None or result is out


async def test_a_record_that_comes_before_the_header(
    server: FakeServer, lane: FakeLane, streaming: AsyncClient
) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        await client.say(record_bytes(0, 0, 0, np.array(5.0).tobytes()))
        await asyncio.sleep(0.05)
        await session.header([np.array(5.0)])
        await session.done()

    server.run = run
    assert await streaming.sum(X) == 5


async def test_a_kept_array_by_the_lane(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        client = await lane.welcome(session)
        assert np.array_equal(await lane.fetch(session, client, 0), X)
        await session.done(server.keep(X, "kept"))

    server.run = run
    assert (await streaming.put(X, name="kept")).id == "kept"


async def test_nothing_is_asked_for_where_nothing_is_offered(server: FakeServer, streaming: AsyncClient) -> None:
    await run_well(server, streaming)
    assert not server.sessions[0].start.bulk


async def test_a_client_that_wants_none(server: FakeServer, lane: FakeLane) -> None:
    server.info.unary_bytes = 0
    async with AsyncClient(server.address, bulk=False) as mill:
        await run_well(server, mill)
    assert not server.sessions[0].start.bulk
    assert not lane.hellos


async def test_an_offer_may_fail_to_come(server: FakeServer, lane: FakeLane, streaming: AsyncClient) -> None:
    await run_well(server, streaming)
    assert server.sessions[0].start.bulk
    assert not lane.hellos
