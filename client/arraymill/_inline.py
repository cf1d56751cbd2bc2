"""One small job in one message each way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    values = values_of(answer, job, options)
    if options.times is not None:
        options.times(answer.times)
    if options.progress is not None:
        times = job_times(answer.times)
        options.progress(Progress(times.received_bytes, times.blocks, times.blocks, times))
    return values


def request_of(
    job: Computation, is_inline: Callable[[int, NDArray[Any]], bool] = lambda index, array: True
) -> pb.ComputeRequest:
    """Return a job with the elements of its inputs in it, as they lie in memory as far as possible.

    Args:
        job: The job.
        is_inline: Tells of an input, by its number, whether its elements go with it.
    """
    request = pb.ComputeRequest()
    request.graph.CopyFrom(graph_to_pb(job.graph) if job.skeleton is None else job.skeleton.message)
    arrays = enumerate(job.inputs)
    for node, message in zip(job.graph.nodes, request.graph.nodes, strict=True):
        if isinstance(node, Input):
            index, array = next(arrays)
            if is_inline(index, array):
                message.input.inline = in_order(array, node.order).tobytes()
    return request


def paired(answer: pb.ComputeResponse, job: Computation) -> list[tuple[pb.InlineArray, ArrayType]]:
    """Return the results of an answer, each with the type that is expected of it.

    Raises:
        InternalError: There are fewer or more of them.
    """
    if len(answer.results) != len(job.results):
        raise InternalError(f"the server sent {len(answer.results)} results of {len(job.results)}")
    return list(zip(answer.results, job.results, strict=True))


def values_of(answer: pb.ComputeResponse, job: Computation, options: Options) -> list[Any]:
    """Return the results of a job, each in the array that the caller gave for it, if any.

    Raises:
        InternalError: They are not as many as were expected, or not of those types.
    """
    return [
        _value(result, expected, options.out(index)) for index, (result, expected) in enumerate(paired(answer, job))
    ]


def _value(result: pb.InlineArray, expected: ArrayType, out: NDArray[Any] | None) -> Any:
    type, order = announced(result, expected)
    if out is None and not type.shape and len(result.data) == type.dtype.itemsize:
        return np.frombuffer(result.data, type.dtype)[0]
    sink = ResultSink(type, order, out=out)
    sink.place(0, memoryview(result.data))
    return sink.finish()
