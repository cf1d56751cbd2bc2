"""The asynchronous client."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, Self

from arraymill._address import resolve
from arraymill._advise_model import AGE_SECONDS, Advice, LinkMemory
from arraymill._array import Array, Operand, asarray
from arraymill._bulk import BulkRoute
from arraymill._caller import Caller
from arraymill._client_arrays import Arrays
from arraymill._connection import Connection
from arraymill._expression import apply_parts, expression_of
from arraymill._fork import is_child
from arraymill._graph import Computation, build
from arraymill._info import ProgressCallback, ServerInfo, server_info
from arraymill._job import AsyncJob
from arraymill._job_info import JobStatus, job_status
from arraymill._limits import LONGEST_SECONDS, checked_count, checked_id, checked_seconds, checked_text
from arraymill._memory_route import MemoryRoute
from arraymill._numpy import canonical
from arraymill._reductions import Outs, Reductions, Result
from arraymill._retry import RETRY_SECONDS, Retry
from arraymill._sink import checked_outs
from arraymill._submit import request_of, submit
from arraymill._ticket import Ticket
from arraymill._transfer import Options
from arraymill_proto.errors import ParameterError
from arraymill_proto.limits import FRAME_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

MAX_PAGE: Final = 1000
"""Jobs that a server lists in one answer at most."""

CONNECT_SECONDS: Final = 10.0
"""How long a server may take to answer the first question."""


class AsyncClient(Reductions, Arrays):
    """Computes on an arraymill server; every method may be awaited concurrently, hundreds at a time.

    Use it as an asynchronous context manager, or call `close`. Cancelling a call cancels its job on the server. All
    errors are `ArraymillError`; those that NumPy has as well are also NumPy's (ValueError, TypeError, AxisError,
    MemoryError).

    A call whose connection is lost is made again for `retry_for` seconds, with growing random pauses; then it fails
    with ConnectionFailedError, and the next call connects again. A busy server is asked again when it says, as long as
    the call may take. `put` alone is not made again when nobody knows whether the server has the array; and a server
    that has never answered is not waited for.

    Every call ends: after its `timeout`, else the client's, else 30 s for questions, and for jobs one hour and a second
    for each MB. `math.inf` is no limit.

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
        retry_for: float = RETRY_SECONDS,
        frame_bytes: int = FRAME_BYTES,
        bulk: bool = True,
        shared: bool = True,
    ) -> None:
        """Prepare a client; the connection is made by the first call.

        Args:
            address: `host:port` or `unix:/path`; None: $ARRAYMILL_SERVER, else localhost:50051.
            timeout: Seconds that each call may take when it does not say; None: as long as its kind may.
            connect_timeout: Seconds that the server may take to answer the first call.
            retry_for: Seconds after its first failure in which a call is made again; 0: no call is ever made again.
            frame_bytes: Largest piece of an array in one message. Results do not depend on it.
            bulk: Send large arrays on a socket of their own beside gRPC where the server offers that and it can be
                reached; False: never. Results do not depend on it.
            shared: Let arrays not travel at all where the server is on this machine and shares memory; False: never.
                Results do not depend on it.

        Raises:
            ParameterError: The address, a time or a size is malformed.
        """
        frame_bytes = checked_count("frame_bytes", frame_bytes, FRAME_BYTES)
        seconds = checked_seconds("connect_timeout", connect_timeout) or CONNECT_SECONDS
        if retry_for != 0:
            checked_seconds("retry_for", retry_for)
        resolved, name = resolve(address), os.urandom(12).hex()
        self._caller = Caller(
            Connection(resolved, connect_timeout=min(seconds, LONGEST_SECONDS), client=name),
            timeout=timeout,
            retry=Retry(retry_for),
            frame_bytes=frame_bytes,
            bulk=BulkRoute(resolved, is_wanted=bulk),
            memory=MemoryRoute(resolved, is_wanted=shared),
        )
        self._link_memory = LinkMemory()

    def __repr__(self) -> str:
        return repr(self._caller).replace("Caller", type(self).__name__, 1)

    @property
    def address(self) -> str:
        """Where the server is."""
        return self._caller.connection.address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; jobs that are under way fail with ConnectionFailedError, and uploads end.

        Submitted jobs that have their inputs go on. Those that lack some are cancelled, with a warning (logger
        "arraymill"), unless they were submitted under a `key`: then somebody may submit them again, and go on. Those
        that had all inputs once, and have not ended, may need them again and fail then: of them a warning is logged.
        In the child of a fork nothing happens: the connection is its parent's.
        """
        if not is_child():
            await self._caller.close()

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
        job = _computation(expressions, "compute")
        results, _ = await self._caller.run(job, Options(timeout, checked_outs(out, job.results), progress))
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
        expressions = map(Array, apply_parts(canonical(checked_text("name", name)), arrays, params))
        return await self.compute(*expressions, out=out, timeout=timeout, progress=progress)

    # ------------------------------------------------------------------ submitted jobs

    async def submit(
        self,
        *expressions: Operand,
        key: str | None = None,
        priority: int | None = None,
        deadline: float | None = None,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> AsyncJob:
        """Submit expressions as a job that goes on without this program; its results stay on the server.

        Returns as soon as the server has the job in its queue. Arrays that are too large to go with it (beyond 1 MiB
        together) follow in the background: until `AsyncJob.uploaded` they must not change, nor this client be closed.
        A job without a `key` is cancelled when that happens, and when this call fails, is cancelled or out of time.
        Where the server's answer was lost, the job is looked for as long as 10 s, unless `retry_for` is 0.

        Args:
            *expressions: Arrays, or anything that `asarray` takes.
            key: A name that makes it one job however often it is submitted, by whomever: the same expressions of the
                same data under the key of a job join that job, which keeps its own priority, deadline and time to
                live; of another priority a warning is logged (logger "arraymill"). Larger arrays are read once more for
                it, to tell them from others. At most 128 visible characters.
            priority: 0 (others first) to 9 (first of all); None: 5.
            deadline: Seconds from now until the server stops the job; None: never.
            ttl: Seconds after the last use until the server deletes a result; None: the server's default.
            timeout: Seconds until the job must be in the queue; None: the client's.

        Raises:
            ParameterError: The key, the priority or a time makes no sense.
            JobKeyError: The key is that of a job with other expressions, or with other data.
            TooLargeError: The job can never fit.
            BusyError: The server has no place for it, or this client has too many.
            DeadlineError: It is not known to be in the queue in time; it may be, under a `key`.
        """
        request = request_of(key, priority, deadline, ttl)
        job = _computation(expressions, "submit")
        return await submit(self._caller, job, request, timeout, is_own=key is None)

    async def job(self, id: str, *, timeout: float | None = None) -> AsyncJob:
        """Return a submitted job by its id, in another process too.

        Raises:
            ParameterError: It is no text, or has more characters than any id.
            JobNotFoundError: There is none.
        """
        ticket = Ticket(self._caller, checked_id("id", id))
        message = await self._caller.ask("GetJob", pb.GetJobRequest(id=id), pb.Job, timeout, place=ticket)
        return AsyncJob(self._caller, ticket, job_status(message))

    async def jobs(
        self, *, ended: bool = True, limit: int | None = None, timeout: float | None = None
    ) -> tuple[JobStatus, ...]:
        """List the submitted jobs of all clients, oldest first, without their results; old ends are forgotten.

        Args:
            ended: Whether to list those that have ended as well; False: only those that wait or run.
            limit: At most so many; None: all.
            timeout: Seconds; None: the client's.

        Raises:
            ParameterError: The limit is no count.
        """
        count = None if limit is None else checked_count("limit", limit)
        found: list[JobStatus] = []
        request = pb.ListJobsRequest(open_only=not ended, page_size=min(count or 0, MAX_PAGE))
        while True:
            page = await self._caller.ask("ListJobs", request, pb.ListJobsResponse, timeout)
            found += (status for status in map(job_status, page.jobs) if ended or not status.has_ended)
            if not page.next_page_token or (count is not None and len(found) >= count):
                return tuple(found[:count])
            request.page_token = page.next_page_token

    # ------------------------------------------------------------------ the server

    async def info(self, *, timeout: float | None = None) -> ServerInfo:
        """Ask the server for its versions, limits, operations and load."""
        return server_info(await self._caller.ask("GetServerInfo", pb.GetServerInfoRequest(), pb.ServerInfo, timeout))

    async def advise(
        self, expression: Operand, *, max_age: float = AGE_SECONDS, timeout: float | None = None
    ) -> Advice:
        """Measure, and say for which sizes it is worth sending an expression to the server.

        NumPy computes samples of it in this process, on a thread, and the server's workers one of some MiB; the wire is
        measured once. It takes some 2 s, more on a slow wire. Arrays on the server are not read: a sample has ones in
        their place. Nothing is kept there. Cancelling it cancels the job that is under way.

        Args:
            expression: An Array, or anything that `asarray` takes.
            max_age: Seconds for which the figures of the wire count; 0: measure them anew.
            timeout: Seconds; None: the client's, else 60.

        Raises:
            ParameterError: A time makes no sense, or no sample can be made: a flattening scan meets its own length.
            ArraymillError: What the server or the connection has to say.
        """
        from arraymill._advise import advise  # noqa: PLC0415  # `import arraymill` does not pay for it

        return await advise(self._caller, self._link_memory, expression_of(asarray(expression)), max_age, timeout)


def _computation(operands: Sequence[Operand], method: str) -> Computation:
    if not operands:
        raise ParameterError(f"{method} needs at least one expression")
    return build([expression_of(asarray(operand)) for operand in operands])
