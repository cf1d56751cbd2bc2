"""One small job in one message each way."""

from __future__ import annotations

from typing import Any

from arraymill._connection import Connection
from arraymill._graph import Computation
from arraymill._info import Progress, job_times
from arraymill._sink import ResultSink
from arraymill._transfer import Options, announced
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import InternalError
from arraymill_proto.graph import ArrayType
from arraymill_proto.v1 import arraymill_pb2 as pb


async def compute_inline(connection: Connection, job: Computation, options: Options) -> list[Any]:
    """Compute a job whose inputs and results are small; cancelling it cancels the job.

    Raises:
        ArraymillError: What the server or the connection has to say.
    """
    request = pb.ComputeRequest(graph=graph_to_pb(job.inlined()))
    answer = await connection.call("Compute", request, pb.ComputeResponse, options.timeout)
    if len(answer.results) != len(job.results):
        raise InternalError(f"the server sent {len(answer.results)} results of {len(job.results)}")
    if options.progress is not None:
        times = job_times(answer.times)
        options.progress(Progress(times.received_bytes, times.blocks, times.blocks, times))
    pairs = zip(answer.results, job.results, strict=True)
    return [_value(result, expected, options, index) for index, (result, expected) in enumerate(pairs)]


def _value(result: pb.InlineArray, expected: ArrayType, options: Options, index: int) -> Any:
    type, order = announced(result, expected)
    sink = ResultSink(type, order, out=options.out(index))
    sink.place(0, memoryview(result.data))
    return sink.finish()
