"""What one job makes of memory shared with the server: the server says where, and this side copies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from arraymill._layout import AnyArray
from arraymill._memory import MemorySession
from arraymill._sink import ResultSink
from arraymill._source import ArraySource
from arraymill_proto.errors import ArraymillError, InternalError
from arraymill_proto.graph import Order
from arraymill_proto.v1 import arraymill_pb2 as pb2
from arraymill_proto.v1 import memory_pb2 as pb

SourceOf = Callable[[int, Order], ArraySource]


class SharedLane:
    """One job's use of a session. Make it in a running event loop; `close` it.

    Args:
        session: With the server; None: the job does without.
        source_of: Gives the bytes of an input in an order of its axes.
    """

    def __init__(self, session: MemorySession | None, source_of: SourceOf) -> None:
        self._session = session
        self._source_of: SourceOf | None = source_of
        self._number = 0
        self._sinks: Sequence[ResultSink] | None = None
        self._offered: list[pb.Take] = []
        self._has_placed_outputs = False
        self._is_accepted = False
        self.leaves_results = False
        """Whether the server leaves the results in the arrays that `opening` told of, and sends none."""
        self.garbled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails when the server says there what it must not."""

    @property
    def may_leave_results(self) -> bool:
        """Whether the server may write to those arrays: until it has said what it does, it may."""
        return self.leaves_results if self._is_accepted else self._has_placed_outputs

    @property
    def secret(self) -> bytes:
        """What tells the server whose job it is; empty: none."""
        return self._session.secret if self._session is not None and self._session.is_open else b""

    def opening(self, inputs: Sequence[AnyArray], outs: Sequence[AnyArray | None]) -> pb2.SharedMemory | None:
        """Return what tells the server whose job it is, and which arrays lie where it can touch them.

        Args:
            inputs: Of the job.
            outs: Arrays for all its results; fewer, or None for one, where there are none.
        """
        if not self.secret or self._session is None:
            return None
        placed = ((index, self._session.place(array)) for index, array in enumerate(inputs))
        told = [
            pb2.Placed(index=index, segment=place.segment, offset=place.offset, strides=place.strides)
            for index, place in placed
            if place is not None
        ]
        outputs = self._outputs(inputs, outs)
        self._has_placed_outputs = bool(outputs)
        return pb2.SharedMemory(session=self.secret, inputs=told, outputs=outputs)

    def chosen(self, told: pb2.SharedMemory) -> None:
        """Give the job a number, and take its ranges from now on: it has no stream that would tell one."""
        assert self._session is not None
        told.job = self._number = self._session.next_number()
        self._session.enter(self._number, self)

    def _outputs(self, inputs: Sequence[AnyArray], outs: Sequence[AnyArray | None]) -> list[pb2.Placed]:
        """Return where all results can be left by the server itself; nothing where one cannot."""
        told: list[pb2.Placed] = []
        for index, out in enumerate(outs):
            place = self._session.place(out) if self._session is not None and out is not None else None
            if out is None or place is None or not out.flags.c_contiguous or _overlaps(out, *inputs, *outs[:index]):
                return []
            told.append(pb2.Placed(index=index, segment=place.segment, offset=place.offset))
        return told

    def accepted(self, accepted: pb2.Accepted) -> None:
        """Take the ranges of the job, which has a number within the session; 0: it goes by other lanes."""
        self._is_accepted = True
        self.leaves_results = accepted.memory_outputs and self._has_placed_outputs
        if accepted.memory_job and self._session is not None:
            self._number = accepted.memory_job
            self._session.enter(self._number, self)

    def announced(self, sinks: Sequence[ResultSink]) -> None:
        """The server has said what the results are."""
        self._sinks = sinks
        offered, self._offered = self._offered, []
        for take in offered:
            self.take(take)

    def ended(self) -> None:
        """Take no more ranges: what was not taken comes on the stream, and its memory may be used for others now."""
        if self._session is not None:
            self._session.leave(self._number)
        self._offered = []

    def close(self) -> None:
        """Take no more ranges, and hold no arrays. Safe to call twice."""
        self.ended()
        self._source_of, self._sinks = None, None

    # ------------------------------------------------------------------ SharedRanges

    def fill(self, fill: pb.Fill) -> None:
        assert self._session is not None
        assert self._source_of is not None
        try:
            target = self._session.range(fill.address, fill.length)
            self._source_of(fill.index, tuple(fill.order)).copy_into(fill.offset, target)
        except ArraymillError as exc:
            self.lost(exc)
            return
        self._session.filled(fill.job, fill.want)

    def take(self, take: pb.Take) -> None:
        assert self._session is not None
        if self._sinks is None:
            self._offered.append(take)
            return
        try:
            data = self._session.range(take.address, take.length).data
            for output in take.outputs:
                if output >= len(self._sinks):
                    raise InternalError(f"the server sent output {output} of {len(self._sinks)}")
                self._sinks[output].place(take.offset, data)
        except ArraymillError as exc:
            self.lost(exc)
            return
        self._session.taken(take.job, take.range)

    def lost(self, error: ArraymillError | None) -> None:
        """Leave the job to its stream, or to the server's answer, unless the server said what it must not."""
        if error is not None and not self.garbled.done():
            self.garbled.set_exception(error)


def _overlaps(out: AnyArray, *others: AnyArray | None) -> bool:
    """Tell whether an array may share memory with another: then it must not change before all has been read."""
    return any(other is not None and np.may_share_memory(out, other) for other in others)
