"""What a job has asked of its client, and what has come: the receiving half of the wire, sans-I/O.

A want is a range of an input with memory leased for it. Frames may come in any order, and a frame that came before is
dropped, so a sender that is not sure may send again. Everything else that does not fit is an error of the client.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView
from arraymill_server.plan.model import Wanted


@dataclass(slots=True)
class _Want:
    wanted: Wanted
    target: memoryview
    token: int
    received: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Disjoint ranges within the want, ascending; neighbours joined. In order there is one."""


class Wants:
    """The wants of one job.

    Args:
        inputs: Bytes of each input of the job.
    """

    def __init__(self, inputs: tuple[int, ...]) -> None:
        self._inputs = inputs
        self._open: dict[int, _Want] = {}
        self._last = 0
        self.received_bytes = 0

    def __repr__(self) -> str:
        return f"<Wants {len(self._open)} open of {self._last} | {self.received_bytes:,} bytes received>"

    def open(self, wanted: Wanted, target: memoryview, token: int) -> int:
        """Note a want; return its number. `token` is given back when all of it is there."""
        self._last += 1
        self._open[self._last] = _Want(wanted, target, token)
        return self._last

    def accept(self, frame: FrameView) -> int | None:
        """Take a frame in: copy its bytes to where they belong.

        Returns:
            The token of the want that is complete now, or None.

        Raises:
            FrameError: The frame serves no want, leaves its want's range, or overlaps what came before.
        """
        self._check_input(frame)
        want = self._open.get(frame.want)
        if want is None:
            self._check_old(frame)
            return None
        start = frame.offset - want.wanted.offset
        end = start + len(frame.data)
        self._check_range(frame, want, start, end)
        if not self._is_new(frame, want, start, end):
            return None
        want.target[start:end] = frame.data
        self.received_bytes += end - start
        _note(want.received, start, end)
        if want.received != [(0, want.wanted.nbytes)]:
            return None
        del self._open[frame.want]
        return want.token

    def close(self) -> None:
        """Forget all wants: their memory is about to be given back."""
        self._open.clear()

    def missing(self) -> FrameError | None:
        """The error of a client that stops sending now; None when nothing is missing."""
        if not self._open:
            return None
        number, want = next(iter(self._open.items()))
        came = sum(end - start for start, end in want.received)
        return FrameError(
            f"frames are missing: want {number} asked for {want.wanted.nbytes:,} bytes of input {want.wanted.number} "
            f"at offset {want.wanted.offset:,}, {came:,} came before the client stopped sending",
            want=number,
            input=want.wanted.number,
            wanted_bytes=want.wanted.nbytes,
            received_bytes=came,
        )

    # ------------------------------------------------------------------ checks

    def _check_input(self, frame: FrameView) -> None:
        if frame.index >= len(self._inputs):
            raise FrameError(
                f"a frame names input {frame.index}; the job has {len(self._inputs)} inputs, counted from 0",
                input=frame.index,
            )
        end = frame.offset + len(frame.data)
        if end > self._inputs[frame.index]:
            raise FrameError(
                f"a frame ends at byte {end:,} of input {frame.index}, which has {self._inputs[frame.index]:,} bytes",
                input=frame.index,
                offset=frame.offset,
            )

    def _check_old(self, frame: FrameView) -> None:
        if not 1 <= frame.want <= self._last:
            raise FrameError(
                f"a frame serves want {frame.want}, which the server has not asked for; the last one is {self._last}",
                want=frame.want,
            )

    def _check_range(self, frame: FrameView, want: _Want, start: int, end: int) -> None:
        wanted = want.wanted
        if frame.index != wanted.number:
            raise FrameError(
                f"a frame brings input {frame.index} for want {frame.want}, which asked for input {wanted.number}",
                want=frame.want,
            )
        if start < 0 or end > wanted.nbytes:
            raise FrameError(
                f"a frame of bytes {frame.offset:,} to {frame.offset + len(frame.data):,} leaves want {frame.want}, "
                f"which asked for {wanted.offset:,} to {wanted.offset + wanted.nbytes:,} of input {frame.index}",
                want=frame.want,
            )

    def _is_new(self, frame: FrameView, want: _Want, start: int, end: int) -> bool:
        if start == end:
            return False
        for first, last in want.received:
            if first <= start and end <= last:
                return False
            if start < last and first < end:
                raise FrameError(
                    f"a frame of bytes {frame.offset:,} to {frame.offset + len(frame.data):,} of input {frame.index} "
                    "overlaps what came before without repeating it",
                    want=frame.want,
                )
        return True


def _note(received: list[tuple[int, int]], start: int, end: int) -> None:
    """Add a range that is disjoint from all others."""
    if received and received[-1][1] == start:
        received[-1] = (received[-1][0], end)
        return
    received.append((start, end))
    received.sort()
    joined: list[tuple[int, int]] = []
    for first, last in received:
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    received[:] = joined
