"""One small job in one message each way."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraymill._connection import Connection
from arraymill._graph import Computation
from arraymill._info import Progress, job_times
from arraymill._layout import in_order
from arraymill._sink import ResultSink
from arraymill._transfer import Options, announced
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import InternalError
from arraymill_proto.graph import ArrayType, Input
from arraymill_proto.v1 import arraymill_pb2 as pb


async def compute_inline(
    connection: Connection, job: Computation, options: Options, timeout: float | None, *, pipelined: bool = False
) -> list[Any]:
    """Compute a job whose inputs and results are small; cancelling it cancels the job.

    Args:
        connection: To the server.
        job: The job.
        options: What the caller says.
        timeout: Seconds that are left for it; None: any number.
        pipelined: Whether it shares a stream with others; else it is a call of its own.

    Raises:
        ArraymillError: What the server or the connection has to say.
    """
    request = request_of(job)
    if pipelined:
        answer = await connection.compute(request, timeout)
    else:
        answer = await connection.call("Compute", request, pb.ComputeResponse, timeout)
    if len(answer.results) != len(job.results):
        raise InternalError(f"the server sent {len(answer.results)} results of {len(job.results)}")
    if options.progress is not None:
        times = job_times(answer.times)
        options.progress(Progress(times.received_bytes, times.blocks, times.blocks, times))
    pairs = zip(answer.results, job.results, strict=True)
    return [value_of(result, expected, options, index) for index, (result, expected) in enumerate(pairs)]


def request_of(job: Computation) -> pb.ComputeRequest:
    """Return a job with the elements of every input in it, as they lie in memory as far as possible."""
    request = bare_request(job)
    arrays = iter(job.inputs)
    for node, message in zip(job.graph.nodes, request.graph.nodes, strict=True):
        if isinstance(node, Input):
            message.input.inline = in_order(next(arrays), node.order).tobytes()
    return request


def bare_request(job: Computation) -> pb.ComputeRequest:
    """Return a job without the elements of its inputs."""
    request = pb.ComputeRequest()
    request.graph.CopyFrom(graph_to_pb(job.graph) if job.skeleton is None else job.skeleton.message)
    return request


def value_of(result: pb.InlineArray, expected: ArrayType, options: Options, index: int) -> Any:
    """Return one result of a job, in the array that the caller gave for it, if any.

    Raises:
        InternalError: It is none of the type that was expected.
    """
    type, order = announced(result, expected)
    out = options.out(index)
    if out is None and not type.shape and len(result.data) == type.dtype.itemsize:
        return np.frombuffer(result.data, type.dtype)[0]
    sink = ResultSink(type, order, out=out)
    sink.place(0, memoryview(result.data))
    return sink.finish()
