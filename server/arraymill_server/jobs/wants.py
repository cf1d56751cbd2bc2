"""What a job has asked of its client, and what has come: the receiving half of the wire, sans-I/O.

A want is a range of an input with memory leased for it. Pieces of it may come in any order, and one that came before is
dropped, so a sender that is not sure may send again. Everything else that does not fit is an error of the client.

A frame is there as a whole when it is read; a record of the bulk lane arrives bit by bit, straight into its place: it
is claimed first, and counts when its last byte is there.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final

from arraymill_proto.bulk import Record
from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView
from arraymill_proto.limits import FRAME_BYTES
from arraymill_server.plan.model import Wanted

MAX_PIECES: Final = 128
"""Pieces with gaps between them that a want may consist of. A want of 8 MiB has eight frames of full size, and 128
pieces in the worst order of frames of 32 KiB; whoever scatters single bytes shall not make the server keep books."""


class _Fit(Enum):
    """How a range meets those that came before."""

    NEW = auto()
    REPEATED = auto()
    OVERLAPPING = auto()
    SCATTERED = auto()
    """New, but one piece more than a want may have."""


@dataclass(slots=True)
class _Ranges:
    """Disjoint ranges of bytes, ascending, neighbours joined. What comes in order is one range."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])

    @property
    def nbytes(self) -> int:
        return sum(self.ends) - sum(self.starts)

    def add(self, start: int, end: int) -> _Fit:
        """Add a range, not empty, if it is new."""
        starts, ends = self.starts, self.ends
        place = bisect_right(starts, start)
        if place and start < ends[place - 1]:
            return _Fit.REPEATED if end <= ends[place - 1] else _Fit.OVERLAPPING
        if place < len(starts) and starts[place] < end:
            return _Fit.OVERLAPPING
        follows = place > 0 and ends[place - 1] == start
        leads = place < len(starts) and starts[place] == end
        if follows and leads:
            ends[place - 1] = ends[place]
            del starts[place], ends[place]
        elif follows:
            ends[place - 1] = end
        elif leads:
            starts[place] = start
        elif len(starts) == MAX_PIECES:
            return _Fit.SCATTERED
        else:
            starts.insert(place, start)
            ends.insert(place, end)
        return _Fit.NEW


@dataclass(slots=True)
class Want:
    """An open want. Its text says what the client has done of it."""

    number: int
    wanted: Wanted
    target: memoryview
    token: int
    received: _Ranges = field(default_factory=_Ranges)
    """Within the want; with what is still arriving."""
    arriving: int = 0
    """Bytes that are claimed and not all there."""
    claims: list[int] = field(default_factory=list[int])
    """Where those ranges begin, within the want."""

    @property
    def came(self) -> int:
        """Bytes that are there."""
        return self.received.nbytes - self.arriving

    @property
    def head(self) -> int:
        """Bytes from its start on that are there, without a gap."""
        starts, ends = self.received.starts, self.received.ends
        return min((ends[0], *self.claims)) if starts and not starts[0] else 0

    def __str__(self) -> str:
        return (
            f"has sent {self.came:,} of {self.wanted.nbytes:,} bytes of input {self.wanted.number} from offset "
            f"{self.wanted.offset:,} on (want {self.number})"
        )


class Wants:
    """The wants of one job.

    Args:
        inputs: Bytes of each input of the job.
    """

    def __init__(self, inputs: tuple[int, ...]) -> None:
        self._inputs = inputs
        self._open: dict[int, Want] = {}
        self._last = 0
        self.received_bytes = 0
        self.open_bytes = 0
        """Bytes of the open wants that are not there."""

    def __repr__(self) -> str:
        return f"<Wants {len(self._open)} open of {self._last} | {self.received_bytes:,} bytes received>"

    def open(self, wanted: Wanted, target: memoryview, token: int) -> int:
        """Note a want; return its number. `token` is given back when all of it is there."""
        self._last += 1
        self._open[self._last] = Want(self._last, wanted, target, token)
        self.open_bytes += wanted.nbytes
        return self._last

    def accept(self, frame: FrameView) -> int | None:
        """Take a frame in: copy its bytes to where they belong.

        Returns:
            The token of the want that is complete now, or None.

        Raises:
            CorruptedError: Its bytes are not those that were sent.
            FrameError: The frame serves no want, is too large, leaves its want's range, overlaps what came before, or
                scatters the want into too many pieces.
        """
        _check_size(frame)
        frame.verify()
        record = Record(frame.want, frame.index, frame.offset, len(frame.data))
        target = self.claim(record)
        if target is None:
            return None
        target[:] = frame.data
        return self.arrived(record)

    def claim(self, record: Record) -> memoryview | None:
        """Return the memory for a range that begins to arrive, None when it is empty or came before.

        Raises:
            FrameError: As of `accept`.
        """
        self._check_input(record)
        want = self._open.get(record.want)
        if want is None:
            self._check_old(record)
            return None
        start = record.offset - want.wanted.offset
        end = start + record.length
        self._check_range(record, want, start, end)
        if start == end or not self._is_new(record, want, start, end):
            return None
        want.arriving += record.length
        want.claims.append(start)
        return want.target[start:end]

    def arrived(self, record: Record) -> int | None:
        """All bytes of a range that was claimed are there; return the token of the want if it is complete now."""
        want = self._open[record.want]
        want.arriving -= record.length
        want.claims.remove(record.offset - want.wanted.offset)
        self.received_bytes += record.length
        self.open_bytes -= record.length
        if want.arriving or want.received.ends[0] - want.received.starts[0] < want.wanted.nbytes:
            return None
        del self._open[record.want]
        return want.token

    def filled(self, number: int) -> int | None:
        """Note that all of a want lies in its place; return its token, None when it is not open.

        Raises:
            FrameError: Nobody has asked for it.
        """
        want = self._open.pop(number, None)
        if want is None:
            self._check_old(Record(number, 0, 0, 0))
            return None
        self.received_bytes += want.wanted.nbytes - want.came
        self.open_bytes -= want.wanted.nbytes - want.came
        return want.token

    def reopen(self) -> list[tuple[int, Wanted]]:
        """Open what is missing of the open wants anew: bytes were lost, and nobody knows which of those on their way.

        What came without a gap stays; a line that breaks again and again brings a job forward all the same.
        What is still on its way under the old numbers is dropped: else a client would be told that its job is done
        while it still sends what came twice, and gRPC's Python takes that for a broken connection.

        Returns:
            The wants to ask for again, with their new numbers.
        """
        forgotten, self._open = self._open, {}
        self.open_bytes = 0
        return [self._reopen(want) for want in forgotten.values()]

    def _reopen(self, want: Want) -> tuple[int, Wanted]:
        head, wanted = want.head, want.wanted
        self.received_bytes -= want.came - head
        rest = replace(wanted, offset=wanted.offset + head, nbytes=wanted.nbytes - head)
        return self.open(rest, want.target[head:], want.token), rest

    def oldest(self) -> Want | None:
        """Return the want that waits longest, None when none is open."""
        return next(iter(self._open.values()), None)

    def close(self) -> None:
        """Forget all wants: their memory is about to be given back."""
        self._open.clear()
        self.open_bytes = 0

    def missing(self) -> FrameError | None:
        """The error of a client that stops sending now; None when nothing is missing."""
        want = self.oldest()
        if want is None:
            return None
        number, came = want.number, want.came
        return FrameError(
            f"frames are missing: want {number} asked for {want.wanted.nbytes:,} bytes of input {want.wanted.number} "
            f"at offset {want.wanted.offset:,}, {came:,} came before the client stopped sending",
            want=number,
            input=want.wanted.number,
            wanted_bytes=want.wanted.nbytes,
            received_bytes=came,
        )

    # ------------------------------------------------------------------ checks

    def _check_input(self, record: Record) -> None:
        if record.index >= len(self._inputs):
            raise FrameError(
                f"a frame names input {record.index}; the job has {len(self._inputs)} inputs, counted from 0",
                input=record.index,
            )
        if record.end > self._inputs[record.index]:
            raise FrameError(
                f"a frame ends at byte {record.end:,} of input {record.index}, which has "
                f"{self._inputs[record.index]:,} bytes",
                input=record.index,
                offset=record.offset,
            )

    def _check_old(self, record: Record) -> None:
        if not 1 <= record.want <= self._last:
            raise FrameError(
                f"a frame serves want {record.want}, which the server has not asked for; the last one is {self._last}",
                want=record.want,
            )

    def _check_range(self, record: Record, want: Want, start: int, end: int) -> None:
        wanted = want.wanted
        if record.index != wanted.number:
            raise FrameError(
                f"a frame brings input {record.index} for want {record.want}, which asked for input {wanted.number}",
                want=record.want,
            )
        if start < 0 or end > wanted.nbytes:
            raise FrameError(
                f"a frame of bytes {record.offset:,} to {record.end:,} leaves want {record.want}, "
                f"which asked for {wanted.offset:,} to {wanted.offset + wanted.nbytes:,} of input {record.index}",
                want=record.want,
            )

    def _is_new(self, record: Record, want: Want, start: int, end: int) -> bool:
        fit = want.received.add(start, end)
        if fit is _Fit.OVERLAPPING:
            raise FrameError(
                f"a frame of bytes {record.offset:,} to {record.end:,} of input {record.index} "
                "overlaps what came before without repeating it",
                want=record.want,
            )
        if fit is _Fit.SCATTERED:
            raise FrameError(
                f"the frames of want {record.want} lie in more than {MAX_PIECES} pieces with gaps between them "
                f"({want.received.nbytes:,} of {want.wanted.nbytes:,} bytes came); send larger frames, or in order",
                want=record.want,
                pieces=MAX_PIECES + 1,
                limit=MAX_PIECES,
            )
        return fit is _Fit.NEW


def _check_size(frame: FrameView) -> None:
    if len(frame.data) > FRAME_BYTES:
        raise FrameError(
            f"a frame has {len(frame.data):,} bytes of data; the server takes at most {FRAME_BYTES:,}",
            frame_bytes=len(frame.data),
            limit=FRAME_BYTES,
        )
