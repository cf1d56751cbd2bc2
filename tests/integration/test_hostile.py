"""Clients that hold on to what they do not use: the server takes it back, and the next job runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from servers import RunningServer, running_server
from wire import Call, channel_to, frame_message, next_want, open_run, responses, run_graph, start_message

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb

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
    assert f"owes want 1: {want.length:,} bytes of input 0" in text
    assert "of which 800 came and did not move for 1 s" in text


async def test_frames_that_bring_nothing_are_no_move(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    failing = asyncio.ensure_future(failure(call))
    while not failing.done():
        for size in (0, 8):
            if not call.done():
                await call.write(frame_message(want.want, 0, want.offset, bytes(size)))
        await asyncio.wait([failing], timeout=0.2)
    assert failing.result()[0] == "DEADLINE"


async def test_a_client_that_feeds_slowly_is_served(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    size = want.length // 4
    for start in range(0, want.length, size):
        await asyncio.sleep(0.4)
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
