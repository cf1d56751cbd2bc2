"""Jobs of one message: what all ways have in common on which they come, be it a call of their own or a pipeline.

One that is like an earlier one, with other elements, is played at once (`jobs.small`), without a turn, a place or
memory of its own: all of that is for those who wait. Every other one goes the long way.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Final

from arraymill_proto.codec import graph_from_pb, type_to_pb
from arraymill_proto.errors import InvalidJobError, Reason, TooLargeError
from arraymill_proto.graph import Graph, Input
from arraymill_proto.limits import UNARY_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.aside import LARGE_NODES
from arraymill_server.jobs.request import Request
from arraymill_server.jobs.service import Jobs
from arraymill_server.jobs.small import KEY_BYTES, KNOWN, Part, Played, SmallJobs
from arraymill_server.plan.script import Script
from arraymill_server.rpc import messages
from arraymill_server.rpc.calls import Calls, job_bytes
from arraymill_server.rpc.inline import InlineExchange
from arraymill_server.rpc.memory_listener import MemoryListener
from arraymill_server.rpc.placed import Placed, find_placed
from arraymill_server.rpc.record import Record, operation_of, recorded
from arraymill_server.rpc.shared_exchange import SharedExchange
from arraymill_server.rpc.shared_lane import NeedsRunError, SharedLane
from arraymill_server.rpc.tally import Tally
from arraymill_server.rpc.turns import Turns

MAX_SMALL_NODES: Final = 16
"""Most nodes of a graph that is looked up: to take the elements out of it costs 1 µs for a node."""

OVERHEAD_BYTES: Final = 1 << 20
"""What a request may have beside its arrays: a graph of the largest size has some 300 KB."""


@dataclass(frozen=True, slots=True)
class Hall:
    """What jobs meet on their way in."""

    jobs: Jobs
    small: SmallJobs
    calls: Calls
    turns: Turns
    cancelled: Tally
    """Counts jobs whose clients have gone."""
    memory: MemoryListener | None
    """Where clients on this machine get shared memory; None: nowhere."""
    stall_seconds: float
    """What a client may take between two moves while its job waits for it."""


class SmallJob:
    """A job of one message: `play` it, and if that cannot be, `run` it.

    Args:
        request: The message. It is changed meanwhile.
        nbytes: Of it.
        hall: Where it goes through.
        peer: The client's address.
        client: Whose job it is.
    """

    def __init__(self, request: pb.ComputeRequest, nbytes: int, hall: Hall, *, peer: str, client: str) -> None:
        self._graph = request.graph
        self._nbytes = job_bytes(nbytes, len(request.graph.nodes))
        self._hall = hall
        self._peer = peer
        self._client = client
        self._memory = request.memory if request.HasField("memory") else None
        """What it says of memory that its client shares; None: nothing."""
        self._key = b""
        """Its graph without elements; empty: nothing to be looked up."""

    def __repr__(self) -> str:
        return f"<SmallJob of {self._client}: {len(self._graph.nodes)} nodes, {self._nbytes:,} bytes>"

    @property
    def is_in_memory(self) -> bool:
        """Whether its arrays lie in memory that its client shares, or come through it."""
        return self._memory is not None

    def play(self) -> pb.ComputeResponse | None:
        """Answer it now, in some 50 µs; None: it has to go the long way.

        Raises:
            BusyError: There is no place for it.
            ConnectionFailedError: The server is shutting down.
        """
        begin = monotonic()
        inputs = self._inline_inputs() if self._memory is None else []
        if not inputs:
            return None
        data = [input.inline for input in inputs]
        for input in inputs:
            input.ClearField("inline")
        self._key = self._graph.SerializeToString()
        part = self._hall.small.find(self._key, data)
        played = None if part is None else self._played(part, data)
        if part is None or played is None:
            for input, inline in zip(inputs, data, strict=True):
                input.inline = inline
            return None
        seconds, script = monotonic() - begin, played.script
        self._hall.calls.counts.played(
            part.known.operation, seconds, played.seconds, script.received_bytes, script.sent_bytes
        )
        return _answer(played, seconds)

    async def run(self) -> pb.ComputeResponse:
        """Run it to its end; cancelling this cancels the job.

        Raises:
            ArraymillError: Whatever is wrong with the job, its values or the server's room.
        """
        hall = self._hall
        if self._memory is not None and len(self._graph.nodes) >= LARGE_NODES:
            return pb.ComputeResponse(needs_run=True)  # where it is planned aside
        with recorded(self._peer, hall.cancelled, hall.calls.counts) as record:
            record.operation = operation_of(self._graph)
            return await self._run(record)

    async def _run(self, record: Record) -> pb.ComputeResponse:
        hall, client = self._hall, self._client
        with hall.calls.job(client, self._nbytes, is_read=is_read(self._graph)):
            graph = await hall.jobs.aside.run(client, len(self._graph.nodes), graph_from_pb, self._graph)
            async with hall.jobs.foreseen(graph, client, keep=False), hall.turns.taken(client, self._nbytes):
                if self._memory is not None:
                    return await self._run_shared(graph, self._memory, record)
                exchange = record.exchange = InlineExchange(graph, hall.calls.counts.traffic)
                report = await hall.jobs.run(Request(graph, client, result_limit=UNARY_BYTES), exchange)
                record.times = report.times
                if 0 < len(self._key) <= KEY_BYTES:
                    worked = report.times.computed + report.times.merged
                    hall.small.learn(self._key, graph, worked, record.operation)
                return pb.ComputeResponse(results=exchange.results(), times=messages.job_times(report))

    async def _run_shared(self, graph: Graph, told: pb.SharedMemory, record: Record) -> pb.ComputeResponse:
        """Run a job whose arrays are in shared memory, or come through it, if it is there."""
        hall = self._hall
        if not told.job:
            raise InvalidJobError("a job in shared memory without a number: give it one from 2^63 on")
        session = hall.memory.session(told.session) if hall.memory is not None else None
        try:
            if session is None:
                raise NeedsRunError
            with find_placed(graph, told, session.memory) as placed:
                lane = SharedLane(session, told.job, is_only_way=_lacks_inputs(graph, placed))
                exchange = record.exchange = SharedExchange(graph, lane, hall.stall_seconds, hall.calls.counts.traffic)
                request = Request(
                    graph,
                    self._client,
                    result_limit=UNARY_BYTES,
                    room=lane,
                    views=placed.views,
                    targets=placed.targets,
                    hold=placed.hold,
                )
                try:
                    report = await hall.jobs.run(request, exchange)
                finally:
                    exchange.close()  # also of a job that has not begun
                answer = exchange.answer()
                record.times = report.times
        except NeedsRunError:
            record.is_told = False
            return pb.ComputeResponse(needs_run=True)
        except TooLargeError as exc:
            if exc.reason is not Reason.RESULT_TOO_LARGE or not told.outputs:
                raise
            record.is_told = False
            return pb.ComputeResponse(needs_run=True)
        answer.times.CopyFrom(messages.job_times(report))
        return answer

    def _inline_inputs(self) -> list[pb.Input]:
        """Return its inputs; none where it is no job to be looked up."""
        nodes = self._graph.nodes
        if len(nodes) > MAX_SMALL_NODES:
            return []
        inputs = [node.input for node in nodes if node.HasField("input")]
        return inputs if all(input.HasField("inline") for input in inputs) else []

    def _played(self, part: Part, data: list[bytes]) -> Played | None:
        with recorded(self._peer, self._hall.cancelled, self._hall.calls.counts) as record:
            record.operation = part.known.operation
            self._hall.calls.check_open()
            self._hall.calls.jobs.check(self._client, self._nbytes)
            played = self._hall.small.play(part, data)
            if played is None:
                record.is_told = False
            else:
                record.exchange = _PlayedExchange(played.script.received_bytes, played.script.sent_bytes)
        return played


@dataclass(frozen=True, slots=True)
class _PlayedExchange:
    """What the log tells of a job that was played."""

    received_bytes: int
    sent_bytes: int
    placed_bytes: int = 0

    @property
    def job_id(self) -> str:
        """Its name in the log, where it is asked for once: nobody else asks for it."""
        return secrets.token_hex(8)


def _lacks_inputs(graph: Graph, placed: Placed) -> bool:
    """Tell whether a job has inputs that came neither in its message nor lie in shared memory."""
    return any(
        isinstance(node, Input) and node.inline is None and index not in placed.views
        for index, node in enumerate(graph.nodes)
    )


def is_read(graph: pb.Graph) -> bool:
    """Tell whether a job only reads resident arrays: it goes on while the server shuts down."""
    return all(node.HasField("resident") for node in graph.nodes)


def check_size(nbytes: int) -> None:
    """Refuse a message that cannot be within the bound of inline inputs before it is unfolded.

    Raises:
        InvalidJobError: It cannot.
    """
    if nbytes > UNARY_BYTES + OVERHEAD_BYTES:
        raise InvalidJobError(
            f"a job's message of {nbytes:,} bytes: inline inputs may have {UNARY_BYTES:,} and the graph around them "
            f"{OVERHEAD_BYTES:,}; stream larger arrays on Run",
            message_bytes=nbytes,
            limit=UNARY_BYTES + OVERHEAD_BYTES,
        )


def _answer(played: Played, seconds: float) -> pb.ComputeResponse:
    answer = pb.ComputeResponse()
    answer.CopyFrom(_template(played.script))
    for message, data in zip(answer.results, played.results, strict=True):
        message.data = bytes(data)
    answer.times.total, answer.times.computed = seconds, played.seconds
    return answer


@lru_cache(maxsize=KNOWN)
def _template(script: Script) -> pb.ComputeResponse:
    """Return what is the same in all answers of a script."""
    return pb.ComputeResponse(
        results=[
            pb.InlineArray(type=type_to_pb(result.type), order=messages.wire_order(result.order))
            for result in script.plan.outputs
        ],
        times=pb.JobTimes(
            received_bytes=script.received_bytes,
            sent_bytes=script.sent_bytes,
            blocks=script.plan.blocks,
            passes=len(script.plan.passes),
        ),
    )
