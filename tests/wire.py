"""A client in the raw: speaks the wire with generated messages only, and can misbehave in every way."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.dtypes import from_code
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb

Call: TypeAlias = Any
"""A grpc.aio stream-stream call of raw bytes."""

RUN = "/arraymill.v1.Arraymill/Run"
FRAME_BYTES = 1 << 20


@asynccontextmanager
async def channel_to(address: str) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel with gRPC's own limits."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


def open_run(channel: grpc.aio.Channel, timeout: float = 60.0) -> Call:
    """Open a Run stream without sending anything."""
    make: Any = channel.stream_stream
    return make(RUN, request_serializer=None, response_deserializer=None)(timeout=timeout)


def start_message(graph: Graph, keep: pb.Keep | None = None, *, bulk: bool = False) -> bytes:
    return pb.RunRequest(start=pb.Start(graph=graph_to_pb(graph), keep=keep, bulk=bulk)).SerializeToString()


def frame_message(want: int, index: int, offset: int, data: bytes) -> bytes:
    frame = pb.Frame(want=want, index=index, offset=offset, data=data)
    return pb.RunRequest(frame=frame).SerializeToString()


async def write_unless_ended(call: Call, message: bytes) -> None:
    """Write, though the server may end the call at this moment.

    The call's own `write` would then hide what the server says behind an internal error.
    """
    with suppress(grpc.aio.InternalError):
        await call._cython_call.send_serialized_message(message)


async def responses(call: Call) -> AsyncIterator[pb.RunResponse]:
    """All messages of the server until it ends the call; raises AioRpcError if it fails."""
    while (message := await call.read()) is not grpc.aio.EOF:
        yield pb.RunResponse.FromString(message)


async def next_want(call: Call) -> pb.Want:
    """The next want, whatever stands before it."""
    async for response in responses(call):
        if response.HasField("want"):
            return response.want
    raise AssertionError("the call ended without a want")


def wanted_bytes(array: NDArray[Any], want: pb.Want) -> bytes:
    ordered = array.transpose(tuple(want.order)) if want.order else array
    return ordered.tobytes()[want.offset : want.offset + want.length]


# ------------------------------------------------------------------ the bulk lane


class BulkStream:
    """A bulk connection. `proto/DESIGN.md` has its bytes."""

    HEADER = struct.Struct("<QQQQII")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def greet(self, secret: bytes) -> None:
        """Say hello and be welcomed."""
        await self.say(hello_bytes(secret))
        assert await self.reader.readexactly(1) == b"+"

    async def record(self) -> tuple[int, int, bytes]:
        """The next record: output, offset, data."""
        want, offset, length, checksum, index, flags = await self.header()
        assert (want, flags) == (0, 1)
        data = await self.reader.readexactly(length)
        assert word_sum(data) == checksum
        return index, offset, data

    async def header(self) -> tuple[int, ...]:
        """Want, offset, length, checksum, index and flags of the next record."""
        fields: tuple[int, ...] = self.HEADER.unpack(await self.reader.readexactly(self.HEADER.size))
        return fields

    async def ended(self) -> bytes:
        """Wait until the server ends the connection; return what it had said before, if it did not reset it."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


def hello_bytes(secret: bytes) -> bytes:
    return b"ambulk1\n" + secret


def word_sum(data: bytes) -> int:
    """The checksum of array bytes."""
    padded = data + bytes(-len(data) % 8)
    return int(np.frombuffer(padded, "<u8").sum(dtype=np.uint64))


def record_bytes(
    want: int,
    index: int,
    offset: int,
    data: bytes,
    *,
    length: int | None = None,
    checksum: int | None = None,
    flags: int | None = None,
) -> bytes:
    """A record; with `length`, one that claims to have another length than it has. Unchecked without a checksum."""
    known = 0 if checksum is None else 1
    header = (
        want,
        offset,
        len(data) if length is None else length,
        checksum or 0,
        index,
        known if flags is None else flags,
    )
    return BulkStream.HEADER.pack(*header) + data


@asynccontextmanager
async def bulk_stream(port: int, host: str = "127.0.0.1") -> AsyncGenerator[BulkStream]:
    """A connection to a bulk port that has not said anything."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield BulkStream(reader, writer)
    finally:
        writer.transport.abort()


async def next_accepted(call: Call) -> pb.Accepted:
    """What the server says when the job runs."""
    async for response in responses(call):
        if response.HasField("accepted"):
            return response.accepted
    raise AssertionError("the call ended before the job ran")


# ------------------------------------------------------------------ a whole job


async def run_graph(
    channel: grpc.aio.Channel, graph: Graph, arrays: Sequence[NDArray[Any]], frame_bytes: int = FRAME_BYTES
) -> list[NDArray[Any]]:
    """Run a job as a well-behaved client of another language would."""
    call = open_run(channel)
    await call.write(start_message(graph))
    results: list[NDArray[Any]] = []
    async for response in responses(call):
        if response.HasField("want"):
            want = response.want
            data = wanted_bytes(arrays[want.index], want)
            for start in range(0, len(data), frame_bytes):
                piece = data[start : start + frame_bytes]
                await call.write(frame_message(want.want, want.index, want.offset + start, piece))
        elif response.HasField("header"):
            for result in response.header.results:
                dtype = from_code(result.type.dtype)
                order = tuple(result.order) or tuple(range(len(result.type.shape)))
                shape = tuple(result.type.shape[axis] for axis in order)
                results.append(np.empty(shape, dtype).transpose(tuple(np.argsort(order))))
        elif response.HasField("frame"):
            frame = response.frame
            flat = _memory(results[frame.index])
            flat[frame.offset : frame.offset + len(frame.data)] = np.frombuffer(frame.data, np.uint8)
    return results


def _memory(array: NDArray[Any]) -> NDArray[np.uint8]:
    order = np.argsort([-stride for stride in array.strides], kind="stable")
    flat: NDArray[np.uint8] = array.transpose(tuple(order)).reshape(-1).view(np.uint8)
    return flat
