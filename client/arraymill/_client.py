"""The asynchronous client."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from arraymill._address import resolve
from arraymill._array import Array, Axis, Handle, Operand, Scalar, asarray
from arraymill._connection import Connection
from arraymill._expression import apply, expression_of
from arraymill._graph import Job, build
from arraymill._info import (
    ArrayInfo,
    Progress,
    ProgressCallback,
    ServerInfo,
    array_info,
    job_times,
    server_info,
)
from arraymill._layout import AnyArray
from arraymill._numpy import canonical
from arraymill._sink import ResultSink, check_out
from arraymill._transfer import Options, Transfer
from arraymill_proto.codec import graph_to_pb, type_from_pb
from arraymill_proto.errors import DeadlineError, InternalError, ParameterError
from arraymill_proto.v1 import arraymill_pb2 as pb

SMALL_BYTES: Final = 64 << 10
"""Up to here, inputs and results go in one message each. It saves a round trip and the set-up of a stream, some 0.5 ms;
beyond, protobuf's extra copies begin to cost as much."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to answer the first question."""

Result: TypeAlias = Any
"""An ndarray, or a NumPy scalar for results without dimensions: what NumPy would give."""

Outs: TypeAlias = "AnyArray | Sequence[AnyArray | None] | None"


class AsyncClient:
    """Computes on an arraymill server; every method may be awaited concurrently, hundreds at a time.

    Use it as an asynchronous context manager, or call `close`. Cancelling a call cancels its job on the server. All
    errors are `ArraymillError`; those that NumPy has as well are also NumPy's (ValueError, TypeError, AxisError,
    MemoryError). Errors of the connection are `ConnectionFailedError`.

    Keywords of every job: `out`, an array to fill instead of a new one; `timeout`, the seconds after which the server
    stops the job and DeadlineError is raised; `progress`, a function that is called with `Progress` now and then.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float | None = None,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each job may take when the call does not say; None: no limit.
            connect_timeout: Seconds that the server may take to answer the first call.

        Raises:
            ParameterError: The address or a time is malformed.
        """
        self._timeout = _checked_timeout(timeout)
        self._connection = Connection(resolve(address), connect_timeout=connect_timeout)

    def __repr__(self) -> str:
        state = "closed" if self._connection.is_closed else "open"
        return f"<{type(self).__name__} of {self.address}: {state}>"

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._connection.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; jobs that are under way fail with ConnectionFailedError."""
        await self._connection.close()

    # ------------------------------------------------------------------ jobs

    async def compute(
        self,
        *expressions: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Compute expressions in one job; what they share is read and computed once.

        Args:
            *expressions: Arrays, or anything that `asarray` takes.
            out: The array to fill, or one (or None) for each expression.
            timeout: Seconds; None: the client's.
            progress: Called now and then.

        Returns:
            The value; for several expressions a tuple of values. Memory order is that of the inputs, as in NumPy.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        arrays = [asarray(expression) for expression in expressions]
        if not arrays:
            raise ParameterError("compute needs at least one expression")
        outs = (out,) if out is None or isinstance(out, np.ndarray) else tuple(out)
        if len(outs) > len(arrays):
            raise ParameterError(f"out has {len(outs)} arrays for {len(arrays)} expressions")
        job = build([expression_of(array) for array in arrays])
        for array, type in zip(outs, job.results, strict=False):
            if array is not None:
                check_out(array, type)
        results = await self._run(job, outs, self._limit(timeout), progress)
        return results[0] if len(results) == 1 else tuple(results)

    async def transform(
        self,
        name: str,
        *arrays: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        **params: Any,
    ) -> Result:
        """Apply one operation of the catalogue: elementwise functions, scans, reductions.

        Args:
            name: NumPy's name: "sqrt", "add", "clip", "cumsum", …
            *arrays: The operands.
            out: The array to fill.
            timeout: Seconds; None: the client's.
            progress: Called now and then.
            **params: NumPy's parameters of the operation: axis, dtype, min, max, …
        """
        expression = Array(apply(canonical(name), arrays, params))
        return await self.compute(expression, out=out, timeout=timeout, progress=progress)

    async def sum(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Sum of elements, as np.sum."""
        value = asarray(x).sum(axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def prod(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Product of elements, as np.prod."""
        value = asarray(x).prod(axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def mean(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Arithmetic mean, as np.mean."""
        value = asarray(x).mean(axis, dtype=dtype, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def var(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Variance, divided by n - ddof, as np.var."""
        value = asarray(x).var(axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def std(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        dtype: DTypeLike | None = None,
        ddof: float = 0,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Standard deviation, the square root of the variance, as np.std."""
        value = asarray(x).std(axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def min(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Least element, as np.min."""
        value = asarray(x).min(axis, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def max(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        initial: Scalar | None = None,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Greatest element, as np.max."""
        value = asarray(x).max(axis, keepdims=keepdims, initial=initial, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def ptp(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Greatest minus least element, as np.ptp."""
        value = asarray(x).ptp(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def argmin(
        self,
        x: Operand,
        axis: int | None = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Index of the first least element, as np.argmin."""
        value = asarray(x).argmin(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def argmax(
        self,
        x: Operand,
        axis: int | None = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Index of the first greatest element, as np.argmax."""
        value = asarray(x).argmax(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def any(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Whether some element is true, as np.any."""
        value = asarray(x).any(axis, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def all(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        where: Operand = True,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Whether every element is true, as np.all."""
        value = asarray(x).all(axis, keepdims=keepdims, where=where)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    async def count_nonzero(
        self,
        x: Operand,
        axis: Axis = None,
        *,
        keepdims: bool = False,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Number of elements other than zero, as np.count_nonzero."""
        value = asarray(x).count_nonzero(axis, keepdims=keepdims)
        return await self.compute(value, out=out, timeout=timeout, progress=progress)

    # ------------------------------------------------------------------ resident arrays

    async def put(
        self,
        x: Operand,
        *,
        name: str = "",
        ttl: float | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Handle:
        """Keep the value of an array or expression on the server.

        Args:
            x: An ndarray, or an expression, which is computed there and does not travel.
            name: A name under which other programs find it; it must be free.
            ttl: Seconds after the last use until the server deletes it; None: the server's default.
            timeout: Seconds; None: the client's.
            progress: Called now and then.

        Raises:
            ArrayExistsError: The name is taken.
            TooLargeError: It can never fit.
            BusyError: The server's budget of resident arrays is spent now.
        """
        if ttl is not None and not ttl > 0:
            raise ParameterError(f"ttl is {ttl}, it must be more than 0 seconds")
        keep = pb.Keep(name=name, ttl_seconds=ttl or 0.0)
        job = build([expression_of(asarray(x))])
        await self._connection.ready()
        options = Options(self._limit(timeout), progress=progress, keep=keep)
        _, kept = await Transfer(self._connection, job, options).run()
        if kept is None:
            raise InternalError(f"the server at {self.address} did not say what it kept")
        return Handle(kept.id, kept.type, kept.name)

    async def get(
        self,
        array: Array,
        *,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Fetch a resident array or a slice of one; only the slice travels."""
        return await self.compute(array, out=out, timeout=timeout, progress=progress)

    async def array(self, id: str, *, timeout: float | None = None) -> Handle:
        """Return the handle of a resident array, by id or name.

        Raises:
            ArrayNotFoundError: There is none.
        """
        request = pb.DescribeArrayRequest(id=id)
        info = array_info(await self._call("DescribeArray", request, pb.ArrayInfo, timeout))
        return Handle(info.id, info.type, info.name)

    async def delete(self, array: Handle | str, *, timeout: float | None = None) -> None:
        """Delete a resident array, by handle, id or name; jobs that read it end undisturbed.

        Raises:
            ArrayNotFoundError: There is none.
        """
        id = array.id if isinstance(array, Handle) else array
        await self._call("DeleteArray", pb.DeleteArrayRequest(id=id), pb.DeleteArrayResponse, timeout)

    async def list(self, *, timeout: float | None = None) -> tuple[ArrayInfo, ...]:
        """List the resident arrays, oldest first."""
        found: list[ArrayInfo] = []
        token = ""
        while True:
            request = pb.ListArraysRequest(page_token=token)
            page = await self._call("ListArrays", request, pb.ListArraysResponse, timeout)
            found += map(array_info, page.arrays)
            token = page.next_page_token
            if not token:
                return tuple(found)

    # ------------------------------------------------------------------ the server

    async def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Ask the server for its versions, limits, operations and load."""
        return server_info(await self._call("GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo, timeout))

    # ------------------------------------------------------------------ inside

    def _limit(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else _checked_timeout(timeout)

    async def _call(self, method: str, request: Any, answer: type[Any], timeout: float | None) -> Any:
        limit = self._limit(timeout)
        await self._connection.ready()
        return await self._connection.call(method, request, answer, limit)

    async def _run(
        self,
        job: Job,
        outs: Sequence[AnyArray | None],
        timeout: float | None,
        progress: ProgressCallback | None,
    ) -> Sequence[Result]:
        begin = monotonic()
        await self._connection.ready()
        if timeout is not None:
            timeout -= monotonic() - begin
            if timeout <= 0:
                raise DeadlineError(f"the deadline passed before {self.address} answered")
        if max(job.input_bytes, job.result_bytes) <= SMALL_BYTES:
            return await self._run_small(job, outs, timeout, progress)
        results, _ = await Transfer(self._connection, job, Options(timeout, outs, progress)).run()
        return results

    async def _run_small(
        self,
        job: Job,
        outs: Sequence[AnyArray | None],
        timeout: float | None,
        progress: ProgressCallback | None,
    ) -> Sequence[Result]:
        request = pb.ComputeRequest(graph=graph_to_pb(job.inlined()))
        answer = await self._connection.call("Compute", request, pb.ComputeResponse, timeout)
        if len(answer.results) != len(job.results):
            raise InternalError(f"the server sent {len(answer.results)} results of {len(job.results)}")
        results: list[Result] = []
        for index, result in enumerate(answer.results):
            out = outs[index] if index < len(outs) else None
            sink = ResultSink(type_from_pb(result.type), tuple(result.order) or None, out=out)
            sink.place(0, memoryview(result.data))
            results.append(sink.finish())
        if progress is not None:
            times = job_times(answer.times)
            progress(Progress(times.received_bytes, times.blocks, times.blocks, times))
        return results


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise ParameterError(f"timeout is {timeout}, it must be more than 0 seconds")
    return timeout
