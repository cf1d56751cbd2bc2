"""Writing: result frames placed into a new array or into the caller's."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from types import NoneType
from typing import Any, cast

import numpy as np

from arraymill._layout import AnyArray, boxes, flat_bytes, in_order, is_masked
from arraymill_proto.errors import DTypeError, InternalError, ParameterError, ShapeError, TooLargeError
from arraymill_proto.graph import ArrayType, Order


def check_out(out: AnyArray, type: ArrayType) -> None:
    """Check that a result fits the caller's array.

    Raises:
        ShapeError: Its shape is another.
        DTypeError: Its dtype is another (results are not cast: a cast would cost a copy).
        ParameterError: It is read-only or masked.
    """
    if is_masked(out):
        raise ParameterError("out is a masked array: give its data")
    if out.shape != type.shape:
        raise ShapeError(f"out has shape {out.shape}, the result has shape {type.shape}")
    if out.dtype != type.dtype:
        raise DTypeError(f"out has dtype {out.dtype}, the result has dtype {type.dtype}; results are not cast")
    if not out.flags.writeable:
        raise ParameterError("out is read-only")


def checked_outs(out: object, results: Sequence[ArrayType]) -> Sequence[AnyArray | None]:
    """Return the arrays to fill, one or None for each result; none at all where the caller gives none.

    Raises:
        ParameterError: They are no arrays, or more or fewer than results.
        ArraymillError: As of `check_out`.
    """
    if out is None:
        return ()
    outs: Sequence[Any] = cast("Any", (out,) if isinstance(out, np.ndarray) else out)
    if not isinstance(outs, (tuple, list)) or not all(isinstance(array, (np.ndarray, NoneType)) for array in outs):
        raise ParameterError("out must be an ndarray, or a list of one, or None, for each expression")
    if len(outs) != len(results):
        raise ParameterError(f"out has {len(outs)} arrays for {len(results)} expressions: give one, or None, for each")
    for array, type in zip(outs, results, strict=True):
        if array is not None:
            check_out(array, type)
    return outs


class ResultSink:
    """Receives the frames of one result, in any order; a frame that comes twice does no harm.

    Bytes are counted in the C order of the axes as `order` lists them, so that a Fortran-ordered result lands in
    Fortran-ordered memory.
    """

    def __init__(
        self, type: ArrayType, order: Order | None = None, *, out: AnyArray | None = None, detached: bool = False
    ) -> None:
        """Prepare the memory.

        Args:
            type: Shape and dtype of the result.
            order: Order of axes, slowest first; None or empty for C order.
            out: The caller's array to fill; a new one when None.
            detached: Fill `out` only at the end, because it shares memory with what is still being sent.

        Raises:
            TooLargeError: This process has no memory for it.
        """
        if out is not None:
            check_out(out, type)
        self._out = out
        self._array = _allocate(type, order) if out is None or detached else out
        self._view = in_order(self._array, order)
        self._bytes = flat_bytes(self._view)
        self._covered = Coverage()
        self.nbytes = type.nbytes

    def place(self, offset: int, data: memoryview) -> None:
        """Put one frame where it belongs.

        Raises:
            InternalError: The frame lies beyond the end of the result.
        """
        target = self.target(offset, len(data))
        if target is None:
            self._scatter(offset, data)
        else:
            target[:] = data
        self._covered.add(offset, offset + len(data))

    def target(self, offset: int, length: int) -> memoryview | None:
        """Return the memory of a range, to be filled directly; None where the result does not lie contiguous.

        Raises:
            InternalError: The range lies beyond the end of the result.
        """
        end = offset + length
        if end > self.nbytes:
            raise InternalError(f"the server sent bytes {offset} to {end} of a result of {self.nbytes} bytes")
        return None if self._bytes is None else self._bytes[offset:end]

    def filled(self, offset: int, length: int) -> None:
        """Note that a `target` holds its bytes."""
        self._covered.add(offset, offset + length)

    @property
    def is_complete(self) -> bool:
        """Whether every byte has come."""
        return self._covered.total == self.nbytes

    def finish(self) -> AnyArray | np.generic:
        """Return the complete result: the caller's array, a new array, or a scalar for zero dimensions.

        Raises:
            InternalError: Frames are missing.
        """
        if not self.is_complete:
            raise InternalError(f"the server sent {self._covered.total} of {self.nbytes} result bytes")
        if self._out is None:
            scalar_or_array: AnyArray | np.generic = self._array if self._array.ndim else self._array[()]
            return scalar_or_array
        if self._out is not self._array:
            np.copyto(self._out, self._array)
        return self._out

    def _scatter(self, offset: int, data: memoryview) -> None:
        itemsize = self._array.itemsize
        head = min(-offset % itemsize, len(data))
        whole = (len(data) - head) // itemsize
        self._patch(offset, data[:head])
        if whole:
            first = (offset + head) // itemsize
            elements = np.frombuffer(data, self._array.dtype, count=whole, offset=head)
            for at, box in boxes(self._view, first, first + whole):
                box[...] = elements[at : at + box.size].reshape(box.shape)
        done = head + whole * itemsize
        self._patch(offset + done, data[done:])

    def _patch(self, offset: int, data: memoryview) -> None:
        """Write some bytes of one element: frames may end inside one."""
        if not data:
            return
        element, begin = divmod(offset, self._array.itemsize)
        ((_, cell),) = boxes(self._view, element, element + 1)
        patched = bytearray(cell.tobytes())
        patched[begin : begin + len(data)] = data
        cell[...] = np.frombuffer(patched, self._array.dtype)


def _allocate(type: ArrayType, order: Order | None) -> AnyArray:
    try:
        memory: AnyArray = np.empty([type.shape[axis] for axis in order or range(type.ndim)], type.dtype)
    except MemoryError as exc:
        raise TooLargeError(
            f"this process has no memory for a result of {type.nbytes:,} bytes: give out=, which may be a numpy.memmap"
        ) from exc
    return memory.transpose(np.argsort(order)) if order else memory


class Coverage:
    """Which bytes have arrived: disjoint intervals, adjacent ones merged, so that frames in order need one."""

    def __init__(self) -> None:
        self._intervals: list[tuple[int, int]] = []
        self.total = 0

    def add(self, start: int, stop: int) -> None:
        """Mark the bytes start … stop - 1 as arrived; those that already had count once."""
        if start >= stop:
            return
        intervals = self._intervals
        first = bisect_left(intervals, (start, start))
        if first and intervals[first - 1][1] >= start:
            first -= 1
        last = first
        while last < len(intervals) and intervals[last][0] <= stop:
            known_start, known_stop = intervals[last]
            self.total -= known_stop - known_start
            start, stop = min(start, known_start), max(stop, known_stop)
            last += 1
        del intervals[first:last]
        insort(intervals, (start, stop))
        self.total += stop - start
