"""A server for tests of the client: speaks the pull protocol with NumPy, or misbehaves as it is told."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Self, TypeAlias

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray
from unit.client.evaluate import evaluate
from unit.client.failures import Context, fail, status_bytes

from arraymill_proto.codec import dtype_to_pb, graph_from_pb, type_to_pb
from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ConnectionFailedError,
    Reason,
)
from arraymill_proto.graph import ArrayType, Graph, Input, Resident
from arraymill_proto.identity import CLIENT_KEY
from arraymill_proto.limits import FRAME_BYTES, MESSAGE_BYTES, UNARY_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

Values: TypeAlias = "list[NDArray[Any]]"

__all__ = ["Context", "FakeServer", "Session", "fail", "fake_server", "honest", "inline_array", "status_bytes"]

SERVICE = "arraymill.v1.Arraymill"

NEW_WORK = ("Compute", "SubmitJob")
"""What a server refuses that shuts down, beside Run."""


class Session:
    """One Run stream as its server sees it."""

    def __init__(self, server: FakeServer, context: Context) -> None:
        self.server = server
        self.context = context
        self.start = pb.Start()
        self.frames: list[pb.Frame] = []
        """All that came."""
        self._wants = 0

    @property
    def graph(self) -> Graph:
        return graph_from_pb(self.start.graph)

    @property
    def inputs(self) -> list[Input]:
        return [node for node in self.graph.nodes if isinstance(node, Input)]

    async def send(self, **message: Any) -> None:
        await self.context.write(pb.RunResponse(**message).SerializeToString())

    async def accept(self, blocks: int = 1) -> None:
        await self.send(accepted=pb.Accepted(job_id="job", blocks=blocks))

    async def want(self, index: int, offset: int, length: int, order: Sequence[int] = ()) -> int:
        """Ask for a range; return the want's number."""
        self._wants += 1
        await self.send(want=pb.Want(want=self._wants, index=index, offset=offset, length=length, order=order))
        return self._wants

    async def receive(self, length: int) -> bytes:
        """Read frames until so many bytes are there."""
        data = b""
        while len(data) < length:
            message = await self.context.read()
            assert isinstance(message, bytes), "the client has stopped sending"
            self.frames.append(pb.RunRequest.FromString(message).frame)
            data += self.frames[-1].data
        return data

    async def fetch(self, index: int, piece: int = 1 << 20, order: Sequence[int] | None = None) -> NDArray[Any]:
        """Ask for a whole input, one want at a time."""
        node = self.inputs[index]
        asked = tuple(node.order or ()) if order is None else tuple(order)
        axes = asked or tuple(range(len(node.shape)))
        shape = [node.shape[axis] for axis in axes]
        nbytes = int(np.prod(shape)) * node.dtype.itemsize
        data = b""
        for offset in range(0, nbytes, piece):
            length = min(piece, nbytes - offset)
            await self.want(index, offset, length, asked)
            data += await self.receive(length)
        return np.frombuffer(data, node.dtype).reshape(shape).transpose(np.argsort(axes) if axes else None)

    async def fetch_all(self, piece: int = 1 << 20) -> Values:
        return [await self.fetch(index, piece) for index in range(len(self.inputs))]

    async def header(self, values: Values, order: Sequence[int] = ()) -> None:
        results = [pb.Result(type=type_to_pb(ArrayType(x.shape, x.dtype)), order=order) for x in values]
        await self.send(header=pb.ResultHeader(results=results))

    async def frame(self, index: int, offset: int, data: bytes) -> None:
        await self.send(frame=pb.Frame(index=index, offset=offset, data=data))

    async def results(self, values: Values, order: Sequence[int] = (), frame_bytes: int = FRAME_BYTES) -> None:
        """Send all results, the last frame first."""
        for index, value in enumerate(values):
            data = (value.transpose(order) if order else value).tobytes()
            for offset in reversed(range(0, len(data), frame_bytes)):
                await self.frame(index, offset, data[offset : offset + frame_bytes])

    async def done(self, array: pb.ArrayInfo | None = None) -> None:
        await self.send(done=pb.Done(times=pb.JobTimes(total=1.0, received_bytes=7, blocks=1), array=array))

    async def answer(self, values: Values) -> None:
        """End the job well."""
        await self.header(values)
        await self.results(values)
        await self.done()


async def honest(session: Session) -> None:
    """Do what a server does."""
    await session.accept()
    inputs = await session.fetch_all()
    values = session.server.values(session.graph, inputs)
    if session.start.HasField("keep"):
        await session.done(session.server.keep(values[0], session.start.keep.name))
    else:
        await session.answer(values)


class FakeServer:
    """Serves the methods of the contract.

    Attributes:
        run: What a Run stream does after Start.
        info: What GetServerInfo answers.
        raw: Answers of unary methods that replace the honest ones, as bytes.
        failures: Errors of unary methods that replace their answers.
        reached: Set when such an error is told.
        refusals: Errors of the next calls of unary methods, before anything is done.
        lost: How many answers of unary methods get lost, after everything was done.
        calls: How often each method was called.
        deadlines: Seconds that the last call of each method was given.
        arrays: The resident arrays, by id.
        peers: The connections that have come, in their order.
        clients: The names that they gave.
        left: Connections to which it is one that answers nothing any more.
        reading: Connections that have fetched what a job left behind.
        leaving: Connections to which this server is one that shuts down.
        hangs: For `run` to set when it has reached the point of the test.
        cancelled: Set when a Run stream was cancelled.
    """

    def __init__(self) -> None:
        self.run: Callable[[Session], Awaitable[None]] = honest
        self.info = pb.ServerInfo(
            version="9.9", protocol=1, oldest_protocol=1, frame_bytes=FRAME_BYTES, unary_bytes=UNARY_BYTES
        )
        self.raw: dict[str, bytes] = {}
        self.failures: dict[str, ArraymillError] = {}
        self.refusals: defaultdict[str, list[ArraymillError]] = defaultdict(list)
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.lost: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.deadlines: dict[str, float | None] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self.sessions: list[Session] = []
        self.peers: list[str] = []
        self.clients = set[object]()
        self.leaving: set[str] = set()
        self.left: set[str] = set()
        self.reading: set[str] = set()
        self._began = 0.0
        self._starts = 0
        self.hangs = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> Self:
        # However soon one server follows another, and however slowly they are asked, clients can tell them apart.
        self._starts += 1
        self._began = monotonic() - 10_000 + 100 * self._starts
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self.handlers()),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        return self

    def handlers(self) -> dict[str, Any]:
        """What it serves, by the names of methods."""
        unary = {
            "GetServerInfo": self._info,
            "Compute": self._compute,
            "ListArrays": self._list,
            "DescribeArray": self._describe,
            "DeleteArray": self._delete,
        }
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(self.unary(name, method)) for name, method in unary.items()
        }
        handlers["Run"] = grpc.stream_stream_rpc_method_handler(self._run)
        handlers["Pipeline"] = grpc.stream_stream_rpc_method_handler(self._pipeline)
        return handlers

    async def stop(self) -> None:
        """Break every connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    def values(self, graph: Graph, inputs: Values) -> Values:
        for node in graph.nodes:
            if isinstance(node, Resident) and node.id not in self.arrays:
                raise ArrayNotFoundError(f"no resident array {node.id!r}")
        native = [x.astype(x.dtype.newbyteorder("=")) for x in inputs]
        return [np.asarray(value) for value in evaluate(graph, tuple(native), self.arrays)]

    def keep(self, value: NDArray[Any], name: str) -> pb.ArrayInfo:
        id = name or f"id{len(self.arrays)}"
        self.arrays[id] = value
        return self._described(id)

    async def meet(self, context: Context, is_new_work: bool) -> None:
        """Note whose call it is, and refuse new work to those for whom this server shuts down."""
        if context.peer() not in self.peers:
            self.peers.append(context.peer())
        self.clients |= {value for key, value in context.invocation_metadata() or () if key == CLIENT_KEY}
        if context.peer() in self.left or (is_new_work and context.peer() in self.leaving):
            await fail(context, ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN))

    async def feed(self, session: Session, attach: pb.Attach) -> None:
        """What a Run stream does after Attach."""
        raise NotImplementedError

    # ------------------------------------------------------------------ methods

    def unary(self, name: str, method: Callable[[bytes], Any]) -> Callable[[bytes, Context], Awaitable[bytes]]:
        """Return the handler of a method that may fail as it is told."""

        async def handler(request: bytes, context: Context) -> bytes:
            self.calls[name] += 1
            self.deadlines[name] = context.time_remaining()
            is_read = _is_read(name, request)
            if is_read:
                self.reading.add(context.peer())
            await self.meet(context, is_new_work=name in NEW_WORK and not is_read)
            if self.refusals[name]:
                await fail(context, self.refusals[name].pop(0))
            if name in self.failures:
                self.reached[name].set()
                await fail(context, self.failures[name])
            if name in self.raw:
                return self.raw[name]
            try:
                answer = method(request)
                message = await answer if asyncio.iscoroutine(answer) else answer
            except ArraymillError as exc:
                await fail(context, exc)
            if self.lost[name]:
                self.lost[name] -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost on the way back")
            serialized: bytes = message.SerializeToString()
            return serialized

        return handler

    async def _run(self, _: Any, context: Context) -> None:
        self.calls["Run"] += 1
        self.deadlines["Run"] = context.time_remaining()
        await self.meet(context, is_new_work=True)
        session = Session(self, context)
        self.sessions.append(session)
        try:
            message = await context.read()
            if not isinstance(message, bytes):  # the client has gone again
                return
            request = pb.RunRequest.FromString(message)
            session.start.CopyFrom(request.start)
            await (self.feed(session, request.attach) if request.HasField("attach") else self.run(session))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _pipeline(self, _: Any, context: Context) -> None:
        """Answer each job as a call of Compute."""
        self.calls["Pipeline"] += 1
        begun = 0
        while isinstance(message := await context.read(), bytes):
            jobs = pb.PipelineRequest.FromString(message).jobs
            answers = [self._pipelined(job) for job in jobs if not self._is_lost()]
            begun += 1
            await context.write(pb.PipelineResponse(answers=answers, begun=begun).SerializeToString())
            if len(answers) < len(jobs):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost on the way back")

    def _is_lost(self) -> bool:
        self.lost["Compute"] -= 1
        return self.lost["Compute"] >= 0

    def _pipelined(self, job: pb.PipelinedJob) -> pb.PipelinedAnswer:
        self.calls["Compute"] += 1
        self.deadlines["Compute"] = job.timeout_seconds
        failures = self.refusals["Compute"] or [self.failures[name] for name in self.failures if name == "Compute"]
        if failures:
            error = failures.pop(0)
            retry_seconds = error.retry_after if isinstance(error, BusyError) else None
            return pb.PipelinedAnswer(number=job.number, status=status_bytes(error, retry_seconds=retry_seconds))
        return pb.PipelinedAnswer(number=job.number, response=self._compute(job.request.SerializeToString()))

    def _info(self, _: bytes) -> pb.ServerInfo:
        self.info.uptime_seconds = monotonic() - self._began
        return self.info

    def _compute(self, request: bytes) -> pb.ComputeResponse:
        graph = graph_from_pb(pb.ComputeRequest.FromString(request).graph)
        values = self.values(graph, [inline_array(node) for node in graph.nodes if isinstance(node, Input)])
        results = [
            pb.InlineArray(type=type_to_pb(ArrayType(value.shape, value.dtype)), data=value.tobytes())
            for value in values
        ]
        return pb.ComputeResponse(results=results, times=pb.JobTimes(total=1.0, blocks=3))

    def _list(self, request: bytes) -> pb.ListArraysResponse:
        """Pages of two."""
        first = int(pb.ListArraysRequest.FromString(request).page_token or 0)
        ids = list(self.arrays)
        token = str(first + 2) if first + 2 < len(ids) else ""
        return pb.ListArraysResponse(arrays=map(self._described, ids[first : first + 2]), next_page_token=token)

    def _describe(self, request: bytes) -> pb.ArrayInfo:
        return self._described(pb.DescribeArrayRequest.FromString(request).id)

    def _delete(self, request: bytes) -> pb.DeleteArrayResponse:
        id = pb.DeleteArrayRequest.FromString(request).id
        if id not in self.arrays:
            raise ArrayNotFoundError(f"no resident array {id!r}")
        del self.arrays[id]
        return pb.DeleteArrayResponse()

    def _described(self, id: str) -> pb.ArrayInfo:
        if id not in self.arrays:
            raise ArrayNotFoundError(f"no resident array {id!r}")
        value = self.arrays[id]
        type = pb.ArrayType(dtype=dtype_to_pb(value.dtype), shape=value.shape)
        return pb.ArrayInfo(id=id, name=f"name of {id}", type=type, bytes=value.nbytes, ttl_seconds=60.0)


def _is_read(name: str, request: bytes) -> bool:
    """Tell whether a job only reads resident arrays."""
    nodes = pb.ComputeRequest.FromString(request).graph.nodes if name == "Compute" else ()
    return bool(nodes) and all(node.HasField("resident") for node in nodes)


def inline_array(node: Input) -> NDArray[Any]:
    assert node.inline is not None
    axes = node.order or tuple(range(len(node.shape)))
    flat = np.frombuffer(bytes(node.inline), node.dtype)
    return flat.reshape([node.shape[axis] for axis in axes]).transpose(np.argsort(axes) if axes else None)


@asynccontextmanager
async def fake_server() -> AsyncGenerator[FakeServer]:
    """A running server."""
    server = await FakeServer().start()
    try:
        yield server
    finally:
        await server.stop()
