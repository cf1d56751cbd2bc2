"""The handlers of the service. Every one is wrapped by `guard`: nothing undeclared leaves the server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from time import monotonic
from typing import Any, Final, TypeVar

import grpc
import grpc.aio

from arraymill_proto.codec import graph_from_pb, parse_request
from arraymill_proto.errors import (
    ArrayNotFoundError,
    InvalidJobError,
    ParameterError,
)
from arraymill_proto.frames import FrameView
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Engine
from arraymill_server.jobs.aside import LARGE_NODES
from arraymill_server.jobs.request import Keep, Report, Request
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.jobs.small import SmallJobs
from arraymill_server.log import get_logger
from arraymill_server.metrics.counts import UNKNOWN
from arraymill_server.rpc import messages
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.calls import Calls, client_of, job_bytes
from arraymill_server.rpc.connections import Connections
from arraymill_server.rpc.lanes import StreamExchange
from arraymill_server.rpc.memory_listener import MemoryListener
from arraymill_server.rpc.memory_session import Session
from arraymill_server.rpc.pipeline import Pipeline
from arraymill_server.rpc.placed import Placed, find_placed
from arraymill_server.rpc.record import operation_of, recorded, refusing
from arraymill_server.rpc.shared_lane import SharedLane
from arraymill_server.rpc.small import Hall, SmallJob, check_size, is_read
from arraymill_server.rpc.stall import patience
from arraymill_server.rpc.streams import Context, begin_stream, linger, receive, stop
from arraymill_server.rpc.submitted import SubmittedServicer
from arraymill_server.rpc.tally import Tally
from arraymill_server.rpc.turns import Turns

Answer = TypeVar("Answer")

_log = get_logger(__name__)


class Servicer:
    """Answers calls.

    Args:
        jobs: Runs jobs.
        residents: The resident arrays.
        arena: For the figures of the server's information.
        engine: Likewise.
        calls: Counts calls.
        stall_seconds: What a client may take between two moves while its job waits for it.
        bulk: Where clients open bulk connections; None: nowhere.
        memory: Where clients on this machine get shared memory; None: nowhere.
        submitted: Answers the calls of submitted jobs.
    """

    def __init__(
        self,
        jobs: Jobs,
        residents: Residents,
        arena: Arena,
        engine: Engine,
        *,
        calls: Calls,
        stall_seconds: float,
        submitted: SubmittedServicer,
        bulk: BulkListener | None = None,
        memory: MemoryListener | None = None,
    ) -> None:
        self._jobs = jobs
        self._residents = residents
        self._arena = arena
        self._engine = engine
        self._calls = calls
        self._stall_seconds = stall_seconds
        self._bulk = bulk
        self._memory = memory
        self._submitted = submitted
        small = SmallJobs(jobs.limits(hold=True))
        self._hall = Hall(jobs, small, calls, Turns(), Tally("jobs cancelled"), memory, stall_seconds)
        self._begin = monotonic()
        self.connections: Connections | None = None
        """Counts them, once it is known where they come."""
        self._info = messages.server_info(version("arraymill"), bulk.port if bulk else 0)
        if memory is not None:
            self._info.memory_paths.extend(memory.paths)
            self._info.shared_budget_bytes = memory.budget.nbytes

    def __repr__(self) -> str:
        return f"<Servicer {self._calls!r}, {self._jobs!r}>"

    # ------------------------------------------------------------------ jobs

    def check_job(self, nbytes: int, context: Context) -> None:
        """Refuse a job before its message is unfolded, if that can be.

        Raises:
            ArraymillError: It is too large, or there is no place for it.
        """
        with refusing(self._calls.counts, UNKNOWN):
            self._check(nbytes, context)

    def check_new(self, nbytes: int, context: Context) -> None:
        """Refuse a job that is to be submitted before its message is unfolded, if that can be.

        Raises:
            ArraymillError: It is too large, or the server is shutting down.
        """
        with refusing(self._calls.counts, UNKNOWN):
            self._calls.check_open()
            check_size(nbytes)

    async def compute(self, request: pb.ComputeRequest, context: Context) -> pb.ComputeResponse:
        """Run a small job in one round trip."""
        job = SmallJob(request, request.ByteSize(), self._hall, peer=context.peer(), client=client_of(context))
        answer = job.play()
        return await job.run() if answer is None else answer

    async def pipeline(self, _: object, context: Context) -> None:
        """Run small jobs as they come, and answer each when it has ended."""
        await begin_stream(context)
        with refusing(self._calls.counts), self._calls.waits.taken(client_of(context)):
            await Pipeline(context, self._hall, self._stall_seconds).serve()

    async def run(self, _: object, context: Context) -> None:
        """Run a job whose arrays are streamed, or feed a submitted one."""
        await begin_stream(context)
        client = client_of(context)
        counts = self._calls.counts
        with recorded(context.peer(), self._hall.cancelled, counts) as record:
            with self._calls.waits.taken(client):  # a silent stream takes no place of a job
                async with patience(self._stall_seconds, "has not sent Start"):
                    first = self._parsed_first(await _read_first(context), context)
            bulk = self._bulk if first.start.bulk or first.attach.bulk else None
            if first.HasField("attach"):
                id = first.attach.job_id
                record.event = "feed"
                with self._calls.feeds.taken(client, is_bounded=False):
                    record.feeds(id, self._submitted.fed(id))
                    await self._submitted.feed(id, context, bulk)
                return
            start = first.start
            record.operation = operation_of(start.graph, is_kept=start.HasField("keep"))
            nbytes = job_bytes(first.ByteSize(), len(start.graph.nodes))
            with self._calls.job(client, nbytes, is_read=is_read(start.graph) and not start.HasField("keep")):
                graph = await self._read(start.graph, client)
                request = _request_of(start, graph, client)
                session = self._session(start)
                memory = pb.SharedMemory()
                memory.CopyFrom(start.memory)
                del first, start  # a job that waits holds its inline bytes once
                keeps = request.keep is not None
                async with self._jobs.foreseen(graph, client, keep=keeps), self._hall.turns.taken(client, nbytes):
                    shared = SharedLane(session) if session is not None else None
                    exchange = record.exchange = StreamExchange(
                        graph, context, self._stall_seconds, bulk, shared, traffic=counts.traffic
                    )
                    with _placed(graph, memory, session) as placed:
                        views, targets = placed.views, placed.targets
                        request = replace(request, room=shared, views=views, targets=targets, hold=placed.hold)
                        await self._stream(request, exchange, context)
                    record.times = request.times

    def _session(self, start: pb.Start) -> Session | None:
        """Return the session in which a client shares memory; None when it shares none, or none any more."""
        return self._memory.session(start.memory.session) if self._memory is not None else None

    async def _read(self, graph: pb.Graph, client: str) -> Graph:
        return await self._jobs.aside.run(client, len(graph.nodes), graph_from_pb, graph)

    async def _stream(self, request: Request, exchange: StreamExchange, context: Context) -> None:
        """Run a job beside the two halves of its stream; whichever fails, or a client that stalls, ends all.

        A new array of which the client cannot be told is deleted: under its id nobody would ever ask for it, and under
        its name the client that tries again would find it taken.
        """
        job = asyncio.ensure_future(self._jobs.run(request, exchange))
        reader = asyncio.ensure_future(receive(exchange, context))
        writer = asyncio.ensure_future(exchange.send_all())
        is_told = False
        try:
            pending: set[asyncio.Future[Any]] = {job, reader, writer, exchange.stalled}
            while not (job.done() and writer.done()):
                finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(finished, key=lambda task: task is job):
                    task.result()
            async with patience(self._stall_seconds, "does not read the end of its job"):
                await context.write(messages.done(job.result(), self._residents))
            is_told = True
            await linger(exchange.gate, reader)
        finally:
            exchange.end()
            await stop(job, reader, writer)
            if not is_told:
                self._forget(job)

    def _forget(self, job: asyncio.Future[Report]) -> None:
        for array in () if job.cancelled() or job.exception() else job.result().arrays:
            with suppress(ArrayNotFoundError):  # another client has deleted it
                self._residents.delete(array.id)

    # ------------------------------------------------------------------ resident arrays

    async def list_arrays(self, request: pb.ListArraysRequest, context: Context) -> pb.ListArraysResponse:
        """List resident arrays in pages."""
        arrays, token = self._residents.page(request.page_size, request.page_token)
        return pb.ListArraysResponse(
            arrays=[messages.array_info(array, self._residents) for array in arrays],
            next_page_token=token,
            used_bytes=self._residents.used_bytes,
            budget_bytes=self._residents.budget_bytes,
        )

    async def describe_array(self, request: pb.DescribeArrayRequest, context: Context) -> pb.ArrayInfo:
        """Describe one resident array; this counts as a use."""
        return messages.array_info(self._residents.get(request.id), self._residents)

    async def delete_array(self, request: pb.DeleteArrayRequest, context: Context) -> pb.DeleteArrayResponse:
        """Delete a resident array."""
        self._residents.delete(request.id)
        return pb.DeleteArrayResponse()

    # ------------------------------------------------------------------ information

    async def get_server_info(self, request: pb.GetServerInfoRequest, context: Context) -> pb.ServerInfo:
        """Tell versions, limits, operations and the load."""
        info = pb.ServerInfo()
        info.CopyFrom(self._info)
        messages.tell_arena(info, self._arena)
        info.running_jobs = self._jobs.running
        info.waiting_jobs = self._jobs.waiting
        info.uptime_seconds = monotonic() - self._begin
        info.resident_bytes = self._residents.used_bytes
        info.resident_budget_bytes = self._residents.budget_bytes
        if self._memory is not None:
            info.shared_bytes = self._memory.budget.segments.nbytes
        messages.tell_workers(info, self._engine.status)
        messages.tell_calls(info, self._calls)
        if self.connections is not None:
            info.connections = await self.connections.count()
        return info

    # ------------------------------------------------------------------ inside

    def _check(self, nbytes: int, context: Context) -> None:
        check_size(nbytes)
        self._calls.check(client_of(context), nbytes)

    def _parsed_first(self, message: bytes, context: Context) -> pb.RunRequest:
        """Read Start or Attach; the first is refused unread where it can be."""
        if not message.startswith(_ATTACH_TAG):
            self._check(len(message), context)
        request = parse_request(message)
        if isinstance(request, FrameView) or request.WhichOneof("message") is None:
            raise InvalidJobError("the first message on Run must be Start or Attach; this one is neither")
        return request


_ATTACH_TAG: Final = bytes([pb.RunRequest.ATTACH_FIELD_NUMBER << 3 | 2])
"""How a message that brings Attach begins."""


async def _read_first(context: Context) -> bytes:
    message = await context.read()
    if message is grpc.aio.EOF:
        raise InvalidJobError("the client closed the stream before it sent Start")
    first: bytes = message
    return first


def _placed(graph: Graph, told: pb.SharedMemory, session: Session | None) -> Placed:
    """Return what of a job lies in memory that its client shares.

    Where there is no session its arrays are asked for as others are. So are those of a large graph, which was planned
    before and is worth more time than the way of its arrays.
    """
    if session is None or len(graph.nodes) >= LARGE_NODES:
        return Placed()
    return find_placed(graph, told, session.memory)


def _request_of(start: pb.Start, graph: Graph, client: str) -> Request:
    """Return the job that Start describes."""
    keep = Keep(start.keep.name, start.keep.ttl_seconds or None) if start.HasField("keep") else None
    if keep is not None and len(graph.outputs) != 1:
        raise ParameterError(f"keep takes a job of one output; this one has {len(graph.outputs)}")
    return Request(graph, client, keep)
