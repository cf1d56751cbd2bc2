"""A client without a wire: an exchange that answers wants from arrays, in frames of any size and order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from arraymill_proto.frames import FrameView
from arraymill_proto.limits import FRAME_BYTES
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.jobs.wants import Wants
from arraymill_server.plan.model import Wanted
from arraymill_server.testing.arrays import Array, Bytes, as_seen, empty_result, put, wire_bytes


class MemoryExchange:
    """One job's client. What happens, happens one thing at a time in later turns of the event loop.

    Args:
        arrays: The job's inputs, by number.
        frame_bytes: Size of frames.
        random: Chooses what happens next, and which frames come twice; None: in order, and once.
    """

    def __init__(
        self, arrays: Sequence[Array], *, frame_bytes: int = FRAME_BYTES, random: Random | None = None
    ) -> None:
        self._arrays = arrays
        self._wants = Wants(tuple(array.nbytes for array in arrays))
        self._frame_bytes = frame_bytes
        self._random = random
        self._events: list[Callable[[], None]] = []
        """What may happen next: a frame arrives, or a result is sent."""
        self._data: dict[tuple[int, tuple[int, ...]], Bytes] = {}
        self._results: list[Array] = []
        self.started: Started | None = None
        self.peer: Peer | None = None
        self.blocks_told: list[int] = []
        """What the job has said of its progress."""
        self.is_closed = False
        self.sent_bytes = 0

    def __repr__(self) -> str:
        return f"<MemoryExchange {len(self._events)} events waiting, {self._wants!r}>"

    @property
    def received_bytes(self) -> int:
        return self._wants.received_bytes

    @property
    def results(self) -> list[Array]:
        """The results that came, as the user sees them."""
        assert self.started is not None
        return [as_seen(array, spec) for array, spec in zip(self._results, self.started.results, strict=True)]

    # ------------------------------------------------------------------ Exchange

    def start(self, started: Started, peer: Peer) -> None:
        self.started, self.peer = started, peer
        self._results = [empty_result(result) for result in started.results]

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        number = self._wants.open(wanted, target, token)
        for frame in self._frames(number, wanted):
            for _ in range(2 if self._random and not self._random.randrange(4) else 1):
                self._later(partial(self._receive, frame))

    def send(self, outgoing: Outgoing, token: int) -> None:
        self._later(partial(self._sent, outgoing, token))

    def progress(self, blocks_done: int) -> None:
        self.blocks_told.append(blocks_done)

    def close(self) -> None:
        self.is_closed = True
        self._wants.close()
        self._events.clear()

    # ------------------------------------------------------------------ inside

    def _frames(self, number: int, wanted: Wanted) -> list[FrameView]:
        key = wanted.number, wanted.order
        if key not in self._data:
            self._data[key] = wire_bytes(self._arrays[wanted.number], wanted.order)
        end = wanted.offset + wanted.nbytes
        return [
            FrameView(number, wanted.number, start, self._data[key][start : min(start + self._frame_bytes, end)].data)
            for start in range(wanted.offset, end, self._frame_bytes)
        ]

    def _later(self, event: Callable[[], None]) -> None:
        self._events.append(event)
        asyncio.get_running_loop().call_soon(self._happen)

    def _happen(self) -> None:
        if self._events:
            self._events.pop(self._random.randrange(len(self._events)) if self._random else 0)()

    def _receive(self, frame: FrameView) -> None:
        assert self.peer is not None
        token = self._wants.accept(frame)
        if token is not None:
            self.peer.done(token)

    def _sent(self, outgoing: Outgoing, token: int) -> None:
        assert self.peer is not None
        for output in outgoing.outputs:
            put(self._results[output], outgoing.offset, outgoing.data)
        self.sent_bytes += len(outgoing.data) * len(outgoing.outputs)
        self.peer.done(token)
