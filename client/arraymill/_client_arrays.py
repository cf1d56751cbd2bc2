"""Arrays that a client keeps on the server, or shares with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from numpy.typing import DTypeLike

from arraymill._array import Array, Handle, Operand, asarray
from arraymill._caller import Caller
from arraymill._expression import Stored, expression_of
from arraymill._graph import build
from arraymill._info import ArrayInfo, ProgressCallback, array_info
from arraymill._layout import AnyArray
from arraymill._limits import checked_id, checked_seconds
from arraymill._new_array import new_type
from arraymill._reductions import Outs, Result
from arraymill._transfer import Options
from arraymill_proto.errors import ArrayNotFoundError
from arraymill_proto.identity import check_name
from arraymill_proto.v1 import arraymill_pb2 as pb


class Arrays(ABC):
    """What a client does with arrays that do not belong to one job."""

    _caller: Caller

    @abstractmethod
    async def compute(
        self,
        *expressions: Operand,
        out: Outs = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Compute expressions in one job."""

    # ------------------------------------------------------------------ shared memory

    async def empty(
        self, shape: int | Sequence[int], dtype: DTypeLike = float, *, timeout: float | None = None
    ) -> AnyArray:
        """Return a new array, as np.empty, in memory that a server on this machine has as well.

        As an input it is read where it lies, without a copy; so are views of it with steps that are not negative. It is
        an ordinary ndarray otherwise, and lives as long as somebody refers to it. Where no memory can be shared it is
        np.empty's; `is_shared` tells. What is written there while a job reads it may or may not be seen by the job.
        Children of a fork see what the parent writes there, and the parent what they write: it is one memory.

        Args:
            shape: Of the array.
            dtype: Of the array; in the machine's byte order.
            timeout: Seconds; None: the client's.

        Raises:
            ConnectionFailedError: No server answers.
            ParameterError, ShapeError: There are no arrays of this shape.
            DTypeError: There are no arrays of this dtype here.
            TooLargeError: Nothing is shared, and this process has no memory for it.
        """
        return await self._caller.empty(new_type(shape, dtype), timeout)

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
            name: A name under which other programs find it; it must be free, and not look like an id.
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
        keep = pb.Keep(name=check_name(name or ""), ttl_seconds=checked_seconds("ttl", ttl) or 0.0)
        job = build([expression_of(asarray(x))])
        _, kept = await self._caller.run(job, Options(timeout, progress=progress, keep=keep))
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
        if not isinstance(cast("object", array), Array) or not isinstance(expression_of(array), Stored):
            raise TypeError(f"get takes a handle or a slice of one, not {array!r}: use compute")
        return await self.compute(array, out=out, timeout=timeout, progress=progress)

    async def array(self, id: str, *, timeout: float | None = None) -> Handle:
        """Return the handle of a resident array, by id or name.

        Raises:
            ParameterError: It is no text, or has more characters than any id or name.
            ArrayNotFoundError: There is none.
        """
        request = pb.DescribeArrayRequest(id=checked_id("id", id))
        info = array_info(await self._caller.ask("DescribeArray", request, pb.ArrayInfo, timeout))
        return Handle(info.id, info.type, info.name)

    async def delete(self, array: Handle | str, *, timeout: float | None = None) -> None:
        """Delete a resident array, by handle, id or name; jobs that read it end undisturbed.

        Raises:
            ParameterError: It is no text, or has more characters than any id or name.
            ArrayNotFoundError: There is none.
        """
        id = array.id if isinstance(array, Handle) else array
        request = pb.DeleteArrayRequest(id=checked_id("array", id))
        await self._caller.ask_once("DeleteArray", request, pb.DeleteArrayResponse, timeout, done=ArrayNotFoundError)

    async def list(self, *, timeout: float | None = None) -> tuple[ArrayInfo, ...]:
        """List the resident arrays, oldest first."""
        found: list[ArrayInfo] = []
        request = pb.ListArraysRequest()
        while True:
            page = await self._caller.ask("ListArrays", request, pb.ListArraysResponse, timeout)
            found += map(array_info, page.arrays)
            if not page.next_page_token:
                return tuple(found)
            request.page_token = page.next_page_token
