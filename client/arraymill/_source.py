"""Reading: ranges of an array's bytes, cut into frames, without ever copying the whole array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arraymill._layout import AnyArray, boxes, flat_bytes, in_order
from arraymill_proto.errors import InternalError
from arraymill_proto.graph import Order

PIECE_BYTES: Final = 256 << 10
"""What is gathered at a time of an array that does not lie contiguous: it stays in the cache."""


class ArraySource:
    """The bytes of an array, counted in the C order of its axes as `order` lists them.

    Where these bytes lie contiguous in memory, frames are views of it; elsewhere each frame is gathered into one
    buffer of frame size. A memory-mapped array is read page by page either way.
    """

    def __init__(self, array: AnyArray, order: Order | None = None) -> None:
        self._view = in_order(array, order)
        self._bytes = flat_bytes(self._view)
        self._itemsize = array.itemsize
        self.nbytes = array.nbytes

    @property
    def is_gathered(self) -> bool:
        """Whether frames must be gathered because the bytes do not lie contiguous in this order."""
        return self._bytes is None

    def frames(self, offset: int, length: int, frame_bytes: int) -> Iterator[tuple[int, memoryview]]:
        """Cut a byte range into frames.

        Args:
            offset: First byte of the range.
            length: Bytes in the range.
            frame_bytes: Most bytes of one frame.

        Yields:
            The byte offset of a frame in the array, and its bytes, valid until the next frame is taken.

        Raises:
            InternalError: The range lies beyond the array: the server asked for what was never offered.
        """
        end = offset + length
        if end > self.nbytes:
            raise InternalError(f"the server asked for bytes {offset} to {end} of an input of {self.nbytes} bytes")
        read = self._gather(min(frame_bytes, length)) if self._bytes is None else self._bytes.__getitem__
        for begin in range(offset, end, frame_bytes):
            yield begin, read(slice(begin, min(begin + frame_bytes, end)))

    def copy_into(self, offset: int, target: NDArray[np.uint8]) -> None:
        """Copy a byte range that is as long as `target`.

        Raises:
            InternalError: As of `frames`.
        """
        piece = PIECE_BYTES if self.is_gathered else max(1, target.size)
        for begin, data in self.frames(offset, target.size, piece):
            np.copyto(target[begin - offset : begin - offset + len(data)], np.frombuffer(data, np.uint8))

    def _gather(self, frame_bytes: int) -> Gather:
        # A frame that starts and ends inside elements touches one element more than it has bytes for, at either end.
        return Gather(self._view, np.empty(frame_bytes // self._itemsize + 2, self._view.dtype))


class Sources:
    """The arrays of a job, each in the orders of axes in which the server asks for it.

    Args:
        arrays: By their numbers.
    """

    def __init__(self, arrays: Sequence[AnyArray]) -> None:
        self._arrays = arrays
        self._known: dict[tuple[int, Order], ArraySource] = {}

    def __call__(self, index: int, order: Order) -> ArraySource:
        """Return the bytes of an array in an order.

        Raises:
            InternalError: The server asks for what was never offered.
        """
        key = (index, order)
        if key not in self._known:
            if index >= len(self._arrays):
                raise InternalError(f"the server asked for input {index} of {len(self._arrays)}")
            array = self._arrays[index]
            if order and sorted(order) != list(range(array.ndim)):
                raise InternalError(f"the server asked for an array of {array.ndim} dimensions in the order {order}")
            self._known[key] = ArraySource(array, order)
        return self._known[key]


class Gather:
    """Copies byte ranges of a strided array into one buffer."""

    def __init__(self, view: AnyArray, buffer: AnyArray) -> None:
        self._view = view
        self._buffer = buffer
        self._bytes = buffer.view(np.uint8).data

    def __call__(self, wanted: slice) -> memoryview:
        """Return the wanted bytes; the next call overwrites them."""
        itemsize = self._buffer.itemsize
        first, last = wanted.start // itemsize, -(-wanted.stop // itemsize)
        for at, box in boxes(self._view, first, last):
            self._buffer[at : at + box.size].reshape(box.shape)[...] = box
        skipped = first * itemsize
        return self._bytes[wanted.start - skipped : wanted.stop - skipped]
