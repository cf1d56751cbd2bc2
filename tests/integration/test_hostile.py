"""Clients that hold on to what they do not use: the server takes it back, and the next job runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import NDArray
from servers import RunningServer, running_server
from wire import (
    BulkStream,
    Call,
    bulk_stream,
    channel_to,
    frame_message,
    hello_bytes,
    next_accepted,
    next_want,
    open_run,
    record_bytes,
    responses,
    run_graph,
    start_message,
    wanted_bytes,
    word_sum,
    write_unless_ended,
)

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.rpc.bulk_listener import HELLO_SECONDS

ARRAY = np.arange(300_000, dtype=np.float64)
SUM = Graph((Input(ARRAY.shape, ARRAY.dtype), Operation("sum", (0,))), (1,))
LARGE = np.zeros(8 << 20, np.uint8)


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningServer]:
    """A server that waits one second for its clients, and takes two calls."""
    with running_server("--stall", "1s", "--max-streams", "2") as server:
        yield server


@pytest_asyncio.fixture
async def channel(impatient: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel; after the test nothing is reserved and a good job runs."""
    async with channel_to(impatient.address) as channel:
        yield channel
        await wait_idle(channel)
        (total,) = await run_graph(channel, SUM, [ARRAY])
        assert total[()] == ARRAY.sum()


async def wait_idle(channel: grpc.aio.Channel) -> None:
    """Wait until the server runs nothing and holds nothing."""
    ask = channel.unary_unary(
        "/arraymill.v1.Arraymill/GetServerInfo",
        request_serializer=pb.GetServerInfoRequest.SerializeToString,
        response_deserializer=pb.ServerInfo.FromString,
    )
    async with asyncio.timeout(20):
        while True:
            info: pb.ServerInfo = await ask(pb.GetServerInfoRequest())
            if not info.running_jobs and info.arena_free_bytes == info.arena_bytes:
                return
            await asyncio.sleep(0.02)


async def failure(call: Call) -> tuple[str, str]:
    """The reason and the message with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in responses(call):
            pass
    packed = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
    return info.reason, caught.value.details() or ""


async def test_a_client_that_does_not_feed(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    await call.write(frame_message(want.want, 0, want.offset, bytes(800)))
    reason, text = await failure(call)
    assert reason == "DEADLINE"
    assert f"has sent 800 of {want.length:,} bytes of input 0 from offset 0 on (want 1)" in text
    assert "nothing moved for 1 s" in text
    assert "send the job again" in text


async def test_frames_that_bring_nothing_are_no_move(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    failing = asyncio.ensure_future(failure(call))
    while not failing.done():
        for size in (0, 8):
            await write_unless_ended(call, frame_message(want.want, 0, want.offset, bytes(size)))
        await asyncio.wait([failing], timeout=0.2)
    assert failing.result()[0] == "DEADLINE"


async def test_a_client_that_feeds_slowly_is_served(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    size = want.length // 8
    for start in range(0, want.length, size):
        await asyncio.sleep(0.2)  # far less than the client may take, and more when all are added
        await call.write(frame_message(want.want, 0, want.offset + start, bytes(min(size, want.length - start))))
    frames = [response.frame.data async for response in responses(call) if response.HasField("frame")]
    assert frames == [bytes(8)]


async def test_a_client_that_does_not_read(channel: grpc.aio.Channel) -> None:
    graph = Graph((Input(LARGE.shape, LARGE.dtype), Operation("negative", (0,))), (1,))
    call = open_run(channel)
    await call.write(start_message(graph))
    wants: list[pb.Want] = []
    while sum(want.length for want in wants) < LARGE.nbytes:
        wants.append(await next_want(call))
    for want in wants:
        for start in range(want.offset, want.offset + want.length, 1 << 20):
            size = min(1 << 20, want.offset + want.length - start)
            await call.write(frame_message(want.want, 0, start, bytes(size)))
    await wait_idle(channel)
    reason, text = await failure(call)
    assert (reason, "does not read its results" in text) == ("DEADLINE", True)


async def test_silent_streams_take_no_place(channel: grpc.aio.Channel) -> None:
    silent = [open_run(channel) for _ in range(20)]
    await asyncio.gather(*(call.wait_for_connection() for call in silent))
    (total,) = await run_graph(channel, SUM, [ARRAY])
    assert total[()] == ARRAY.sum()
    for call in silent:
        reason, text = await failure(call)
        assert (reason, "has not sent Start" in text) == ("DEADLINE", True)


async def test_more_calls_than_may_be_open(channel: grpc.aio.Channel) -> None:
    calls = [open_run(channel) for _ in range(2)]
    for call in calls:
        await call.write(start_message(SUM))
        await next_want(call)
    third = open_run(channel)
    await third.write(start_message(SUM))
    reason, text = await failure(third)
    assert (reason, "2 of 2 calls that run jobs are open (--max-streams 2)" in text) == ("BUSY", True)
    for call in calls:
        assert (await failure(call))[0] == "DEADLINE"


def inline_graph(*sizes: int) -> Graph:
    inputs = [Input((size,), np.dtype("u1"), None, bytes(size)) for size in sizes]
    return Graph((*inputs, Operation("sum", (0,))), (len(inputs),))


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((1 << 20, 1), "the inline inputs have 1,048,577 bytes, one job takes 1,048,576"),
        ((3 << 20,), "a job's message of 3,145,7"),
    ],
)
async def test_too_many_inline_bytes(channel: grpc.aio.Channel, sizes: tuple[int, ...], text: str) -> None:
    graph = inline_graph(*sizes)
    call = open_run(channel)
    await call.write(start_message(graph))
    reason, message = await failure(call)
    assert (reason, message[: len(text)]) == ("INVALID_JOB", text)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compute(channel, graph)
    assert str(caught.value.details()).startswith(text)
    (total,) = await run_graph(channel, inline_graph(1 << 19, 1 << 19), [])
    assert total[()] == 0


async def compute(channel: grpc.aio.Channel, graph: Graph) -> pb.ComputeResponse:
    """Call Compute."""
    call = channel.unary_unary(
        "/arraymill.v1.Arraymill/Compute",
        request_serializer=pb.ComputeRequest.SerializeToString,
        response_deserializer=pb.ComputeResponse.FromString,
    )
    response: pb.ComputeResponse = await call(pb.ComputeRequest(graph=graph_to_pb(graph)))
    return response


# ------------------------------------------------------------------ the bulk lane


@asynccontextmanager
async def lane_job(channel: grpc.aio.Channel, graph: Graph = SUM) -> AsyncGenerator[tuple[Call, BulkStream, bytes]]:
    """A job with its bulk connection, and the secret that opened it."""
    call = open_run(channel)
    await call.write(start_message(graph, bulk=True))
    bulk = (await next_accepted(call)).bulk
    async with bulk_stream(bulk.port) as client:
        await client.greet(bulk.secret)
        yield call, client, bulk.secret
        call.cancel()


def answer_to(want: pb.Want, array: NDArray[Any] = ARRAY) -> bytes:
    data = wanted_bytes(array, want)
    return record_bytes(want.want, want.index, want.offset, data, checksum=word_sum(data))


async def check_lane(channel: grpc.aio.Channel) -> None:
    """A good job goes by the lane."""
    async with lane_job(channel) as (call, client, _):
        wanted = 0
        async for response in responses(call):
            if response.HasField("want"):
                wanted += response.want.length
                await client.say(answer_to(response.want))
            assert not response.HasField("bulk_ended")
            if response.HasField("frame"):
                assert np.frombuffer(response.frame.data) == ARRAY.sum()
        assert wanted == ARRAY.nbytes


async def bulk_port(channel: grpc.aio.Channel) -> int:
    ask = channel.unary_unary(
        "/arraymill.v1.Arraymill/GetServerInfo",
        request_serializer=pb.GetServerInfoRequest.SerializeToString,
        response_deserializer=pb.ServerInfo.FromString,
    )
    info: pb.ServerInfo = await ask(pb.GetServerInfoRequest())
    return info.bulk_port


async def test_secrets_that_open_nothing(channel: grpc.aio.Channel) -> None:
    """One that is guessed, one that is used twice, one of a job that has ended."""
    port = await bulk_port(channel)
    async with lane_job(channel) as (_, client, used):
        for secret in (bytes(32), used):
            async with bulk_stream(port) as stranger:
                await stranger.say(hello_bytes(secret) + record_bytes(1, 0, 0, bytes(100)))
                assert await stranger.ended() == b""
        assert not client.reader.at_eof()
    call = open_run(channel)
    await call.write(start_message(SUM, bulk=True))
    unused = (await next_accepted(call)).bulk.secret
    call.cancel()
    await wait_idle(channel)
    for secret in (used, unused):
        async with bulk_stream(port) as stranger:
            await stranger.say(hello_bytes(secret))
            assert await stranger.ended() == b""
    await check_lane(channel)


async def test_strangers_in_hundreds_keep_nobody_out(channel: grpc.aio.Channel) -> None:
    """They say nothing, or garbage, or half a hello, and stay."""
    port = await bulk_port(channel)
    async with AsyncExitStack() as stack:
        for number in range(200):
            stranger = await stack.enter_async_context(bulk_stream(port))
            await stranger.say([b"", b"\x16\x03\x01", bytes(100), hello_bytes(bytes(32))[:39]][number % 4])
        async with asyncio.timeout(HELLO_SECONDS - 1):
            await check_lane(channel)


BAD_RECORDS: dict[str, tuple[bytes, str]] = {
    "no header": (record_bytes(1, 0, 0, bytes(8), flags=1 << 31), "does not begin with a header"),
    "beyond the input": (record_bytes(1, 0, ARRAY.nbytes - 4, bytes(8)), "which has 2,400,000 bytes"),
    "without an end": (record_bytes(1, 0, 0, b"", length=2**63), "which has 2,400,000 bytes"),
    "of an unknown want": (record_bytes(2**64 - 1, 0, 0, bytes(8)), "which the server has not asked for"),
    "of another input": (record_bytes(1, 1, 0, bytes(8)), "names input 1; the job has 1 inputs"),
    "overlapping": (record_bytes(1, 0, 0, bytes(16)) + record_bytes(1, 0, 8, bytes(16)), "overlaps what came before"),
    "scattered": (b"".join(record_bytes(1, 0, 16 * at, bytes(8)) for at in range(199)), "in more than 128 pieces"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
async def test_records_that_make_no_sense(channel: grpc.aio.Channel, name: str) -> None:
    said, text = BAD_RECORDS[name]
    async with lane_job(channel) as (call, client, _):
        await next_want(call)
        await client.say(said)
        reason, message = await failure(call)
        assert (reason, text in message) == ("FRAME", True), message
        await client.ended()


@pytest.mark.parametrize(
    "said",
    [b"", record_bytes(1, 0, 0, b"")[:-1], record_bytes(1, 0, 0, bytes(99), length=800)],
    ids=["nothing", "a header", "data"],
)
async def test_records_that_are_cut_off(channel: grpc.aio.Channel, said: bytes) -> None:
    """What had not arrived is asked for again."""
    async with lane_job(channel) as (call, client, _):
        want = await next_want(call)
        await client.say(said)
        client.writer.close()
        ended, again = [response async for response in take(call, 2)]
        assert ended.HasField("bulk_ended")
        assert (again.want.want, again.want.offset, again.want.length) == (2, want.offset, want.length)
        data = wanted_bytes(ARRAY, want)
        for start in range(0, len(data), 1 << 20):
            piece = data[start : start + (1 << 20)]
            await call.write(frame_message(1, 0, want.offset + start, bytes(len(piece))))  # too late, and dropped
            await call.write(frame_message(2, 0, want.offset + start, piece))
        frames = [response.frame.data async for response in responses(call) if response.HasField("frame")]
        assert frames == [ARRAY.sum().tobytes()]


async def take(call: Call, count: int) -> AsyncIterator[pb.RunResponse]:
    """Some messages of the server, without those of progress."""
    async for response in responses(call):
        if not response.HasField("progress"):
            yield response
            count -= 1
            if not count:
                return


async def test_bytes_that_changed_on_their_way(channel: grpc.aio.Channel) -> None:
    """They are not computed with, but asked for again."""
    async with lane_job(channel) as (call, client, _):
        want = await next_want(call)
        said = bytearray(answer_to(want))
        said[1000] ^= 1
        await client.say(bytes(said))
        ended, again = [response async for response in take(call, 2)]
        assert ended.HasField("bulk_ended")
        assert (again.want.offset, again.want.length) == (want.offset, want.length)
        assert await client.ended() == b""


async def test_one_want_on_both_lanes_at_once(channel: grpc.aio.Channel) -> None:
    async with lane_job(channel) as (call, client, _):
        want = await next_want(call)
        said, data = answer_to(want), wanted_bytes(ARRAY, want)
        await client.say(said[: len(said) // 2])
        for start in range(0, len(data), 100_000):
            await call.write(frame_message(1, 0, want.offset + start, data[start : start + 100_000]))
        await client.say(said[len(said) // 2 :])
        frames = [response.frame.data async for response in responses(call) if response.HasField("frame")]
        assert frames == [ARRAY.sum().tobytes()]


async def test_a_client_that_does_not_read_the_lane(channel: grpc.aio.Channel) -> None:
    large = np.zeros(24 << 20, np.uint8)
    graph = Graph((Input(large.shape, large.dtype), Operation("negative", (0,))), (1,))
    async with lane_job(channel, graph) as (call, client, _):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # pyright: ignore

        async def feed() -> None:
            while True:
                await client.say(answer_to(await next_want(call), large))

        feeding = asyncio.ensure_future(feed())
        await asyncio.wait([feeding])
        error = feeding.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert "does not read its results" in str(error.details())


async def test_half_a_header_and_nothing_more(channel: grpc.aio.Channel) -> None:
    async with lane_job(channel) as (call, client, _):
        want = await next_want(call)
        await client.say(answer_to(want)[:20])
        reason, text = await failure(call)
        assert (reason, f"has sent 0 of {want.length:,} bytes" in text) == ("DEADLINE", True)


async def test_a_byte_now_and_then(channel: grpc.aio.Channel) -> None:
    """Slower than the server's patience: a byte a minute, if that is 45 s."""
    async with lane_job(channel) as (call, client, _):
        await next_want(call)
        await client.say(record_bytes(1, 0, 0, bytes(100), length=800))
        failing = asyncio.ensure_future(failure(call))
        while not failing.done():
            await asyncio.wait([failing], timeout=1.5)
            with suppress(ConnectionError):
                await client.say(b"x")
        reason, text = failing.result()
        assert (reason, "(want 1)" in text) == ("DEADLINE", True)


async def test_who_goes_on_sending_writes_nobodys_memory(channel: grpc.aio.Channel) -> None:
    """A job is cancelled in the middle of a record, and its memory is the next job's."""
    zeros, ones = np.zeros(8 << 20, np.uint8), np.full(8 << 20, 0xFF, np.uint8)
    graph = Graph((Input(ones.shape, ones.dtype), Operation("sum", (0,))), (1,))

    async def go_on(client: BulkStream, said: bytes) -> None:
        with suppress(ConnectionError):
            for start in range(0, len(said), 8192):
                await client.say(said[start : start + 8192])
                await asyncio.sleep(0)

    for _ in range(5):
        async with lane_job(channel, graph) as (call, client, _):
            said = answer_to(await next_want(call), ones)
            await client.say(said[:1000])
            call.cancel()
            going_on = asyncio.ensure_future(go_on(client, said[1000:]))
            (total,) = await run_graph(channel, graph, [zeros])
            assert total[()] == 0
            await client.ended()
            await going_on
