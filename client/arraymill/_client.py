"""The asynchronous client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import NoneType
from typing import Any, Final, Self

import numpy as np

from arraymill._address import resolve
from arraymill._array import Array, Handle, Operand, asarray
from arraymill._bulk import BulkRoute
from arraymill._connection import Answer, Connection, Message
from arraymill._expression import Stored, apply_parts, expression_of
from arraymill._graph import Job, build
from arraymill._info import ArrayInfo, ProgressCallback, ServerInfo, array_info, server_info
from arraymill._inline import compute_inline
from arraymill._layout import AnyArray
from arraymill._limits import LONGEST_SECONDS, Slots, checked_seconds, within
from arraymill._numpy import canonical
from arraymill._reductions import Outs, Reductions, Result
from arraymill._sink import check_out
from arraymill._transfer import Options, Transfer
from arraymill_proto.errors import ParameterError
from arraymill_proto.limits import FRAME_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

SMALL_BYTES: Final = 64 << 10
"""Up to here, inputs and results go in one message each. It saves a round trip and the set-up of a stream, some 0.5 ms;
beyond, protobuf's extra copies begin to cost as much."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to answer the first question."""

MAX_IN_FLIGHT: Final = 256
"""Jobs that one client has on the server at once; more wait their turn here. Beyond some 64 no throughput is won; the
server takes 2,048 calls from all clients. Small jobs are counted apart: they never wait behind streams."""


class AsyncClient(Reductions):
    """Computes on an arraymill server; every method may be awaited concurrently, hundreds at a time.

    Use it as an asynchronous context manager, or call `close`. Cancelling a call cancels its job on the server. All
    errors are `ArraymillError`; those that NumPy has as well are also NumPy's (ValueError, TypeError, AxisError,
    MemoryError). Errors of the connection are `ConnectionFailedError`: the next call connects again.

    A client belongs to the event loop that used it first, and to its process: gRPC does not survive a fork.

    Keywords of every job: `out`, an array to fill instead of a new one; `timeout`, the seconds after which the server
    stops the job and DeadlineError is raised; `progress`, a function that is called with `Progress` now and then.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        frame_bytes: int = FRAME_BYTES,
        bulk: bool = True,
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each call may take when it does not say; None: no limit.
            connect_timeout: Seconds that the server may take to answer the first call.
            frame_bytes: Largest piece of an array in one message. Results do not depend on it.
            bulk: Send large arrays on a socket of their own beside gRPC where the server offers that and it can be
                reached; False: never. Results do not depend on it.

        Raises:
            ParameterError: The address, a time or a size is malformed.
        """
        if not 0 < frame_bytes <= FRAME_BYTES:
            raise ParameterError(f"frame_bytes is {frame_bytes}, it must be 1 to {FRAME_BYTES:,}")
        seconds = checked_seconds("connect_timeout", connect_timeout) or CONNECT_SECONDS
        self._connection = Connection(resolve(address), connect_timeout=min(seconds, LONGEST_SECONDS))
        self._timeout = checked_seconds("timeout", timeout)
        self._frame_bytes = frame_bytes
        self._bulk = BulkRoute(self._connection.address, is_wanted=bulk)
        self._messages = Slots(MAX_IN_FLIGHT)
        self._streams = Slots(MAX_IN_FLIGHT)

    def __repr__(self) -> str:
        state = "closed" if self._connection.is_closed else "open"
        running = self._messages.running + self._streams.running
        waiting = self._messages.waiting + self._streams.waiting
        return f"<{type(self).__name__} of {self.address}: {state} | {running} running, {waiting} waiting>"

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
            out: The array to fill, or one (or None) for each expression: of the result's shape and dtype, with any
                strides. It may be an input as well. After an error its elements are undefined.
            timeout: Seconds until the server stops the job; None: the client's.
            progress: Called now and then, and once when the job is done.

        Returns:
            The value; for several expressions a tuple of values. Memory order is that of the inputs, as in NumPy.

        Raises:
            ArraymillError: What the server or the connection has to say.
        """
        arrays = [asarray(expression) for expression in expressions]
        if not arrays:
            raise ParameterError("compute needs at least one expression")
        job = build([expression_of(array) for array in arrays])
        options = Options(self._limit(timeout), _checked_outs(out, job), progress)
        results, _ = await self._run(job, options)
        return results[0] if len(results) == 1 else tuple(results)

    async def transform(
        self,
        name: str,
        /,
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

        Returns:
            The value; a pair for operations of two results (modf, frexp, divmod) unless `part` picks one.

        Raises:
            UnknownOperationError: There is no such operation; the message names similar ones.
            ArraymillError: What NumPy would raise, or what the server or the connection has to say.
        """
        expressions = map(Array, apply_parts(canonical(name), arrays, params))
        return await self.compute(*expressions, out=out, timeout=timeout, progress=progress)

    # ------------------------------------------------------------------ resident arrays

    async def put(
        self,
        x: Operand,
        *,
        name: str | None = None,
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

        Returns:
            A handle: an Array that reads the array on the server.

        Raises:
            ArrayExistsError: The name is taken.
            TooLargeError: It can never fit.
            BusyError: The server's budget of resident arrays is spent now.
        """
        keep = pb.Keep(name=name or "", ttl_seconds=checked_seconds("ttl", ttl) or 0.0)
        job = build([expression_of(asarray(x))])
        _, kept = await self._run(job, Options(self._limit(timeout), progress=progress, keep=keep))
        assert kept is not None
        return Handle(kept.id, kept.type, kept.name)

    async def get(
        self,
        array: Array,
        *,
        out: AnyArray | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Fetch a resident array or a slice of one; only the slice travels.

        Raises:
            TypeError: It is another expression, which `compute` would compute.
            ArrayNotFoundError: It was deleted, or it expired.
        """
        if not isinstance(expression_of(array), Stored):
            raise TypeError(f"get takes a handle or a slice of one, not {array!r}: use compute")
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
        request = pb.ListArraysRequest()
        while True:
            page = await self._call("ListArrays", request, pb.ListArraysResponse, timeout)
            found += map(array_info, page.arrays)
            if not page.next_page_token:
                return tuple(found)
            request.page_token = page.next_page_token

    # ------------------------------------------------------------------ the server

    async def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Ask the server for its versions, limits, operations and load."""
        return server_info(await self._call("GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo, timeout))

    # ------------------------------------------------------------------ inside

    def _limit(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else checked_seconds("timeout", timeout)

    async def _call(self, method: str, request: Message, answer: type[Answer], timeout: float | None) -> Answer:
        async with within(self._limit(timeout)) as remaining:
            await self._connection.ready()
            return await self._connection.call(method, request, answer, remaining())

    async def _run(self, job: Job, options: Options) -> tuple[Sequence[Any], ArrayInfo | None]:
        """Run a job in the way that suits its size; waiting for its turn counts as its time."""
        async with within(options.timeout) as remaining:
            info = await self._connection.ready()
            limit = min(SMALL_BYTES, info.unary_bytes)
            is_small = options.keep is None and max(job.input_bytes, job.result_bytes) <= limit
            async with (self._messages if is_small else self._streams).taken():
                frame_bytes = min(self._frame_bytes, info.frame_bytes or FRAME_BYTES)
                nbytes = max(job.input_bytes, job.result_bytes)
                bulk = self._bulk if self._bulk.suits(nbytes, info.bulk_port) else None
                options = replace(options, timeout=remaining(), frame_bytes=frame_bytes, bulk=bulk)
                if is_small:
                    return await compute_inline(self._connection, job, options), None
                return await Transfer(self._connection, job, options).run()


def _checked_outs(out: Outs, job: Job) -> Sequence[AnyArray | None]:
    if out is None:
        return ()
    outs: Sequence[Any] = (out,) if isinstance(out, np.ndarray) else out
    if not isinstance(outs, (tuple, list)) or not all(isinstance(array, (np.ndarray, NoneType)) for array in outs):
        raise ParameterError("out must be an ndarray, or a list of one, or None, for each expression")
    if len(outs) != len(job.results):
        raise ParameterError(
            f"out has {len(outs)} arrays for {len(job.results)} expressions: give one, or None, for each"
        )
    for array, type in zip(outs, job.results, strict=True):
        if array is not None:
            check_out(array, type)
    return outs
