"""Whatever a peer sends, it gets a typed error with numbers, and the next job on the same connection runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from servers import RunningServer
from wire import (
    Call,
    channel_to,
    frame_message,
    next_want,
    open_run,
    responses,
    run_graph,
    start_message,
    wanted_bytes,
)

from arraymill_proto.graph import Constant, Graph, Input, Node, NodeRef, Operation, Resident
from arraymill_proto.v1 import arraymill_pb2 as pb

ARRAY = np.arange(300_000, dtype=np.float64).reshape(300, 1000)
SUM = Graph((Input(ARRAY.shape, ARRAY.dtype), Operation("sum", (0,))), (1,))


@pytest_asyncio.fixture
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel on which a good job runs after whatever the test did."""
    async with channel_to(server.address) as channel:
        yield channel
        (total,) = await run_graph(channel, SUM, [ARRAY])
        assert total[()] == ARRAY.sum()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The stable reason in the error's details."""
    metadata = dict(error.trailing_metadata() or ())
    packed = metadata["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = status_pb2.Status.FromString(packed)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "arraymill"
    reason: str = info.reason
    return reason


async def failure(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in responses(call):
            pass
    return caught.value


def x(*nodes: Node, shape: tuple[int, ...] = (3, 4), dtype: str = "f8", out: int | None = None) -> Graph:
    """A graph of one input and some more nodes; the last one is the output."""
    every = (Input(shape, np.dtype(dtype)), *nodes)
    return Graph(every, (len(every) - 1 if out is None else out,))


GRAPHS: dict[str, tuple[Graph, str, str]] = {
    "unknown operation": (x(Operation("summ", (0,))), "UNKNOWN_OPERATION", "summ"),
    "unknown parameter": (x(Operation("sum", (0,), {"axes": 1})), "PARAMETER", "axes"),
    "parameter of another type": (x(Operation("sum", (0,), {"axis": "one"})), "PARAMETER", "axis"),
    "axis out of range": (x(Operation("sum", (0,), {"axis": 2})), "AXIS", "2"),
    "axis repeated": (x(Operation("sum", (0,), {"axis": (0, -2)})), "AXIS", "0"),
    "shapes that do not broadcast": (
        Graph((Input((3,), np.dtype("f8")), Input((4,), np.dtype("f8")), Operation("add", (0, 1))), (2,)),
        "SHAPE",
        "(3,)",
    ),
    "operation not defined for the dtype": (x(Operation("bitwise_and", (0, 0))), "DTYPE", "bitwise_and"),
    "reduction of nothing": (x(Operation("max", (0,)), shape=(0, 4)), "SHAPE", "0"),
    "dimension that overflows": (x(Operation("sum", (0,)), shape=(1 << 40, 1 << 40)), "SHAPE", ""),
    "too many dimensions": (x(Operation("sum", (0,)), shape=(1,) * 33), "SHAPE", "33"),
    "absurd count beside zero": (x(Operation("sum", (0,)), shape=(0, 1 << 62, 1 << 62)), "SHAPE", ""),
    "reference to a later node": (x(Operation("negative", (2,)), Operation("negative", (1,))), "GRAPH", "2"),
    "reference to itself": (x(Operation("negative", (1,))), "GRAPH", "1"),
    "where of another shape": (
        x(Input((5,), np.dtype(bool)), Operation("sum", (0,), {"where": NodeRef(1)})),
        "SHAPE",
        "(5,)",
    ),
    "no output": (Graph((Input((3,), np.dtype("f8")),), ()), "GRAPH", "output"),
    "output that is no node": (x(out=7), "GRAPH", "7"),
    "integer that does not fit": (x(Constant(300), Operation("add", (0, 1)), dtype="i1"), "INTEGER_OVERFLOW", "300"),
    "resident array that is not there": (
        Graph((Resident("nobody"), Operation("sum", (0,))), (1,)),
        "ARRAY_NOT_FOUND",
        "nobody",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
async def test_bad_graphs(channel: grpc.aio.Channel, name: str) -> None:
    graph, reason, text = GRAPHS[name]
    call = open_run(channel)
    await call.write(start_message(graph))
    error = await failure(call)
    assert (reason_of(error), text in (error.details() or "")) == (reason, True), error.details()


async def test_a_million_nodes(channel: grpc.aio.Channel) -> None:
    node = pb.Node(operation=pb.Operation(name="x"))
    graph = pb.Graph(nodes=[node] * 200_000, outputs=[0])
    call = open_run(channel)
    await call.write(pb.RunRequest(start=pb.Start(graph=graph)).SerializeToString())
    error = await failure(call)
    assert reason_of(error) == "GRAPH"
    assert "200,000" in (error.details() or "") or "200000" in (error.details() or "")


async def test_a_message_above_the_cap(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(frame_message(1, 0, 0, bytes(5 << 20)))
    error = await failure(call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


STRANGE_STARTS: dict[str, bytes] = {
    "a frame first": frame_message(1, 0, 0, b"12345678"),
    "an empty message": b"",
    "garbage": bytes(range(256)),
    "truncated": start_message(SUM)[:-3],
}


@pytest.mark.parametrize("name", STRANGE_STARTS)
async def test_a_first_message_that_is_not_start(channel: grpc.aio.Channel, name: str) -> None:
    call = open_run(channel)
    await call.write(STRANGE_STARTS[name])
    error = await failure(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()


async def test_nothing_at_all(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.done_writing()
    assert reason_of(await failure(call)) == "INVALID_JOB"


async def _wanted(channel: grpc.aio.Channel) -> tuple[Call, pb.Want, bytes]:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    return call, want, wanted_bytes(ARRAY, want)


BAD_FRAMES: dict[str, Callable[[pb.Want, bytes], list[bytes]]] = {
    "a want that was not asked for": lambda want, data: [frame_message(999, 0, 0, data[:8])],
    "want zero": lambda want, data: [frame_message(0, 0, 0, data[:8])],
    "an unknown input": lambda want, data: [frame_message(want.want, 7, 0, data[:8])],
    "beyond the end of the input": lambda want, data: [frame_message(want.want, 0, ARRAY.nbytes - 4, data[:8])],
    "overflowing offset": lambda want, data: [frame_message(want.want, 0, (1 << 64) - 8, data[:16])],
    "overlapping": lambda want, data: [
        frame_message(want.want, 0, want.offset, data[:64]),
        frame_message(want.want, 0, want.offset + 32, data[32:128]),
    ],
    "start again": lambda want, data: [start_message(SUM)],
    "garbage": lambda want, data: [b"\xff" * 40],
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_frames(channel: grpc.aio.Channel, name: str) -> None:
    call, want, data = await _wanted(channel)
    for message in BAD_FRAMES[name](want, data):
        await call.write(message)
    error = await failure(call)
    assert reason_of(error) == "FRAME", error.details()


async def test_frames_missing(channel: grpc.aio.Channel) -> None:
    call, want, data = await _wanted(channel)
    await call.write(frame_message(want.want, 0, want.offset, data[:800]))
    await call.done_writing()
    error = await failure(call)
    assert reason_of(error) == "FRAME"
    assert "800 came" in (error.details() or "")


async def test_frames_twice_and_backwards_are_fine(channel: grpc.aio.Channel) -> None:
    call, want, data = await _wanted(channel)
    size = 100_000
    pieces = [
        frame_message(want.want, 0, want.offset + start, data[start : start + size])
        for start in reversed(range(0, len(data), size))
    ]
    for piece in [*pieces[:-1], pieces[0], *pieces]:
        await call.write(piece)
    frames = [response.frame.data async for response in responses(call) if response.HasField("frame")]
    assert np.frombuffer(b"".join(frames))[0] == ARRAY.sum()


def _inline(nbytes: int) -> Any:
    node = pb.Node(input=pb.Input(dtype=pb.FLOAT64, shape=[100], inline=bytes(nbytes)))
    total = pb.Node(operation=pb.Operation(name="sum", args=[0]))
    return pb.ComputeRequest(graph=pb.Graph(nodes=[node, total], outputs=[1]))


async def test_inline_bytes_that_do_not_match(channel: grpc.aio.Channel) -> None:
    compute = channel.unary_unary(
        "/arraymill.v1.Arraymill/Compute",
        request_serializer=pb.ComputeRequest.SerializeToString,
        response_deserializer=pb.ComputeResponse.FromString,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compute(_inline(799))
    assert reason_of(caught.value) == "SHAPE"
    assert "799" in str(caught.value.details())
    assert "800" in str(caught.value.details())
    assert (await compute(_inline(800))).results[0].data == bytes(8)


async def test_compute_refuses_streamed_inputs_and_large_results(channel: grpc.aio.Channel) -> None:
    compute = channel.unary_unary(
        "/arraymill.v1.Arraymill/Compute",
        request_serializer=pb.ComputeRequest.SerializeToString,
        response_deserializer=pb.ComputeResponse.FromString,
    )
    column = pb.Node(input=pb.Input(dtype=pb.FLOAT64, shape=[1000, 1], inline=bytes(8000)))
    row = pb.Node(input=pb.Input(dtype=pb.FLOAT64, shape=[1000], inline=bytes(8000)))
    table = pb.Node(operation=pb.Operation(name="add", args=[0, 1]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compute(pb.ComputeRequest(graph=pb.Graph(nodes=[column, row, table], outputs=[2])))
    assert reason_of(caught.value) == "RESULT_TOO_LARGE"
    streamed = pb.Node(input=pb.Input(dtype=pb.FLOAT64, shape=[10]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compute(pb.ComputeRequest(graph=pb.Graph(nodes=[streamed], outputs=[0])))
    assert reason_of(caught.value) == "INVALID_JOB"


async def test_a_job_that_can_never_fit(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(x(shape=(1 << 26,)), pb.Keep(name="large")))
    error = await failure(call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(error) == "TOO_LARGE"
    assert "512 MiB" in (error.details() or "")


async def test_integers_to_negative_powers(channel: grpc.aio.Channel) -> None:
    graph = x(Input((3, 4), np.dtype("i8")), Operation("power", (0, 1)), dtype="i8")
    ones = np.ones((3, 4), np.int64)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_graph(channel, graph, [ones, -ones])
    assert reason_of(caught.value) == "COMPUTATION"


async def test_no_error_tells_about_the_machine(channel: grpc.aio.Channel, server: RunningServer) -> None:
    for graph, _, _ in GRAPHS.values():
        call = open_run(channel)
        await call.write(start_message(graph))
        text = (await failure(call)).details() or ""
        assert "Traceback" not in text
        assert "/" not in text.replace("and/or", "")
        assert str(server.pid) not in text
