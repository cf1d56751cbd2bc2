"""A job of one message whose arrays the server reads from memory that it shares with this process.

A stream costs some milliseconds, whatever it carries: as much as the sum of 50 MiB. Where arrays lie in shared memory,
or go through it, nothing is left for a stream to carry but the answer. So the job travels like a small one, and the
server asks for its inputs, if need be, on the session's socket.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from arraymill._connection import Connection
from arraymill._graph import Computation
from arraymill._inline import paired, request_of, values_of
from arraymill._memory import MemorySession
from arraymill._shared_lane import SharedLane
from arraymill._source import Sources
from arraymill._transfer import Options, announced
from arraymill_proto.errors import InternalError
from arraymill_proto.v1 import arraymill_pb2 as pb

ANSWER_BYTES: Final = 64 << 10
"""Most bytes of results that come in the answer; larger ones need a place each, or a stream."""

INLINE_BYTES: Final = 16 << 10
"""Largest input that goes in the message: to be asked for it costs more."""

MAX_NODES: Final = 255
"""Graphs of more nodes go on streams: the server plans them aside."""


def suits(job: Computation, options: Options) -> bool:
    """Tell whether a job that keeps nothing may travel this way."""
    is_short = options.progress is None and len(job.graph.nodes) <= MAX_NODES
    return is_short and (job.result_bytes <= ANSWER_BYTES or _has_outs(options))


def _has_outs(options: Options) -> bool:
    return bool(options.outs) and all(out is not None for out in options.outs)


async def compute_shared(
    connection: Connection, job: Computation, options: Options, session: MemorySession
) -> list[Any] | None:
    """Compute a job in memory shared with the server; cancelling it cancels the job.

    Args:
        connection: To the server.
        job: The job, for which `suits` holds.
        options: What the caller says.
        session: The memory.

    Returns:
        The results; None: nothing was computed, the job needs a stream.

    Raises:
        ArraymillError: What the server or the connection has to say.
    """
    lane = SharedLane(session, Sources(job.inputs))
    try:
        told = lane.opening(job.inputs, options.outs)
        if told is None or not (told.outputs or job.result_bytes <= ANSWER_BYTES):
            return None
        lane.chosen(told)
        request = _request_of(job, told)
        asking = asyncio.ensure_future(connection.compute(request, options.timeout))
        either: set[asyncio.Future[Any]] = {asking, lane.garbled}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if lane.garbled.done():
                lane.garbled.result()
            answer = await asking
        finally:
            asking.cancel()
            lane.garbled.cancel()
            await asyncio.gather(asking, lane.garbled, return_exceptions=True)
            del asking, either  # its error holds this frame: a circle would keep the arrays for a while
    finally:
        lane.close()
    return None if answer.needs_run else _results(answer, job, options, may_be_placed=bool(told.outputs))


def _request_of(job: Computation, told: pb.SharedMemory) -> pb.ComputeRequest:
    """Return the message of a job, with those of its inputs that are small and lie elsewhere."""
    placed = {each.index for each in told.inputs}
    request = request_of(job, lambda index, array: index not in placed and array.nbytes <= INLINE_BYTES)
    request.memory.CopyFrom(told)
    return request


def _results(answer: pb.ComputeResponse, job: Computation, options: Options, *, may_be_placed: bool) -> list[Any]:
    if options.times is not None:
        options.times(answer.times)
    if not answer.memory_outputs:
        return values_of(answer, job, options)
    if not may_be_placed:
        raise InternalError("the server says that it left the results in shared memory, where there was no place")
    for result, expected in paired(answer, job):
        announced(result, expected)
    return list(options.outs)
