"""Frames on a stream, with the bulk lane and the same-host lane beside it."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Final, Protocol

from arraymill_proto.bulk import Record
from arraymill_proto.errors import ConnectionFailedError
from arraymill_proto.frames import Envelope, FrameView, encode_frame
from arraymill_proto.graph import Graph
from arraymill_proto.limits import FRAME_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.jobs.wants import Wants
from arraymill_server.metrics.counts import BULK, GRPC, INLINE, MEMORY, Traffic
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc import messages
from arraymill_server.rpc.bulk import BulkConnection
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.inputs import InlineInputs
from arraymill_server.rpc.shared_lane import SharedLane
from arraymill_server.rpc.stall import Stall
from arraymill_server.rpc.streams import Gate

PROGRESS_SECONDS: Final = 0.25
"""Least time between two messages of progress: smooth enough for a bar, nothing beside the frames."""

BULK_RANGE_BYTES: Final = 1 << 16
"""Least range of a result that goes by the bulk lane: a smaller one is as fast beside the other messages."""


class Writer(Protocol):
    """The sending half of a call."""

    async def write(self, message: bytes) -> None: ...


class StreamExchange:
    """Frames on a bidirectional stream. Make it in a running event loop, and `end` it.

    Small messages overtake result frames: a want that waits behind megabytes of results would leave workers idle.
    `send_all` is the one coroutine that writes to the stream. While a client holds a bulk connection it chooses for
    each want how it answers, and large ranges of results go there.

    Args:
        graph: The job's.
        writer: The sending half of the call.
        stall_seconds: What the client may take between two moves while a want is open or a write is pending.
        bulk: Where the client may open a bulk connection; None: nowhere.
        shared: The way through memory that the client shares; None: it shares none.
        traffic: Counts bytes; None: nobody asks for them.
    """

    def __init__(
        self,
        graph: Graph,
        writer: Writer,
        stall_seconds: float,
        bulk: BulkListener | None = None,
        shared: SharedLane | None = None,
        *,
        traffic: Traffic | None = None,
    ) -> None:
        self._inline = InlineInputs(graph)
        self._wants = Wants(self._inline.nbytes)
        self._writer = writer
        self._peer: Peer | None = None
        self._messages: deque[bytes] = deque()
        """Few: a want is only asked for when memory is free for it."""
        self._progress: bytes | None = None
        """At most one waits: a client that reads slowly gets the newest."""
        self._frames: deque[tuple[Outgoing, int]] = deque()
        self._news = asyncio.Event()
        self.gate = Gate(self._wanted_bytes)
        """Opens for the frames of the client."""
        self._blocks = 0
        self._next_progress = monotonic() + PROGRESS_SECONDS
        self._is_closed = False
        self._is_writing = False
        self._stall = Stall(stall_seconds, self._duty)
        self._input_has_ended = False
        self._listener = bulk
        self._secret: bytes | None = None
        self._bulk: BulkConnection | None = None
        self._shared = shared
        self._traffic = traffic or Traffic()
        self.job_id = ""
        """Empty until the job runs."""
        self.sent_bytes = 0
        self.placed_bytes = 0
        """Of results that are left in memory which the client shares; who runs the job counts them when it is done."""

    def __repr__(self) -> str:
        return f"<StreamExchange {self._wants!r}, {len(self._frames)} results waiting, {self.sent_bytes:,} bytes sent>"

    @property
    def received_bytes(self) -> int:
        return self._wants.received_bytes

    # ------------------------------------------------------------------ Exchange

    def start(self, started: Started, peer: Peer) -> None:
        self._peer, self.job_id = peer, started.job_id
        self._blocks = started.blocks
        self._wants.received_bytes += started.at_hand_bytes
        self._traffic.received[MEMORY] += started.at_hand_bytes
        self._traffic.received[INLINE] += self._inline.inline_bytes
        if started.is_placed:
            self.sent_bytes = self.placed_bytes = started.result_bytes
        if self._shared is not None:
            self._shared.begin(self)
        self._put(messages.accepted(started, self._offer(), self._shared.number if self._shared is not None else 0))
        if not started.is_kept:
            self._put(messages.header(started))

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        assert self._peer is not None
        if self._inline.fill(wanted, target):
            self._peer.done(token)
            return
        is_waiting = self._duty() is not None
        number = self._wants.open(wanted, target, token)
        if self._shared is not None and self._shared.is_open:
            self._shared.fill(number, wanted, address)
        else:
            self._put(messages.want(number, wanted))
            self.gate.open()
        if not is_waiting:  # else its silence goes on
            self._stall.restart()
        if self._input_has_ended:
            self.input_ended()

    def send(self, outgoing: Outgoing, token: int) -> None:
        if self._shared is not None and self._shared.is_open:
            self._shared.take(outgoing, token)
            self._stall.restart()
        elif self._bulk is not None and len(outgoing.data) >= BULK_RANGE_BYTES:
            self._bulk.send(outgoing, token)
            self._stall.restart()
        else:
            self._frames.append((outgoing, token))
            self._news.set()

    def progress(self, blocks_done: int) -> None:
        if monotonic() >= self._next_progress:
            self._next_progress = monotonic() + PROGRESS_SECONDS
            self._progress = messages.progress(self.received_bytes, blocks_done, self._blocks)
            self._news.set()

    def close(self) -> None:
        self._is_closed = True
        if self._bulk is not None:
            self._bulk.close()
        if self._shared is not None:
            self._shared.close()
        self._wants.close()
        self._frames.clear()
        self._news.set()

    # ------------------------------------------------------------------ the stream

    @property
    def stalled(self) -> asyncio.Future[None]:
        """Fails with DeadlineError when the client neither feeds nor reads."""
        return self._stall.expired

    def end(self) -> None:
        """Stop the clock and take the offer of a bulk connection back: the call ends."""
        self._stall.close()
        self._end_bulk()

    def receive(self, frame: FrameView) -> None:
        """Take a frame of the client in.

        Raises:
            FrameError: It does not fit what was asked for.
        """
        before = self._wants.received_bytes
        token = self._wants.accept(frame)
        came = self._wants.received_bytes - before
        if came:  # what came before, or is empty, is no move
            self._traffic.received[GRPC] += came
            self.moved(came)
        if token is not None and self._peer is not None:
            self._peer.done(token)

    def input_ended(self) -> None:
        """The client sends nothing more: an error if something is still wanted."""
        self._input_has_ended = True
        missing = self._wants.missing()
        if missing is not None and self._peer is not None:
            self._peer.fail(missing)

    # ------------------------------------------------------------------ BulkJob

    def bulk_opened(self, connection: BulkConnection) -> None:
        self._bulk = connection
        if self._is_closed:
            connection.close()

    def claim(self, record: Record) -> memoryview | None:
        return self._wants.claim(record)

    def arrived(self, record: Record) -> None:
        token = self._wants.arrived(record)
        self._traffic.received[BULK] += record.length
        self._stall.restart()
        if token is not None and self._peer is not None:
            self._peer.done(token)

    def sent(self, outgoing: Outgoing, token: int) -> None:
        nbytes = len(outgoing.data) * len(outgoing.outputs)
        self.sent_bytes += nbytes
        self._traffic.sent[MEMORY if self._shared is not None and self._shared.is_open else BULK] += nbytes
        self._stall.restart()
        if self._peer is not None:
            self._peer.done(token)

    def moved(self, nbytes: int) -> None:
        self._stall.moved(nbytes)

    def bulk_failed(self, error: Exception) -> None:
        if self._peer is not None:
            self._peer.fail(error)

    def bulk_lost(self, connection: BulkConnection) -> None:
        """Go on with frames, unless results are lost as well."""
        if connection is not self._bulk:
            return  # it was ended from here
        self._bulk = None
        if self._is_closed or self._peer is None or (self._shared is not None and self._shared.is_open):
            return  # or nothing travelled there
        if connection.has_sent:
            self._peer.fail(ConnectionFailedError("the bulk connection broke while results travelled on it; try again"))
            return
        self._go_on_with_frames(connection.unsent())

    # ------------------------------------------------------------------ LaneOwner

    def shared_filled(self, want: int) -> None:
        before = self._wants.received_bytes
        token = self._wants.filled(want)
        self._traffic.received[MEMORY] += self._wants.received_bytes - before
        if token is not None and self._peer is not None:
            self.moved(self._wants.received_bytes - before)
            self._peer.done(token)

    def shared_failed(self, error: Exception) -> None:
        self.bulk_failed(error)

    def shared_lost(self, unsent: list[tuple[Outgoing, int]]) -> None:
        """Go on with frames: what was offered still lies there. The client ends its bulk connection when it is told."""
        if not self._is_closed and self._peer is not None:
            self._end_bulk()
            self._go_on_with_frames(unsent)

    def _go_on_with_frames(self, unsent: list[tuple[Outgoing, int]]) -> None:
        self._frames.extend(unsent)
        self._put(messages.bulk_ended())
        for number, wanted in self._wants.reopen():
            self._put(messages.want(number, wanted))
        self.gate.open()
        self._stall.restart()
        self._news.set()

    # ------------------------------------------------------------------ writing

    async def send_all(self) -> None:
        """Write everything until the exchange is closed and nothing is left to say."""
        while True:
            await self._send_messages()
            if self._frames:
                await self._send_result(*self._frames.popleft())
                continue
            if self._is_closed:
                return
            self._news.clear()
            await self._news.wait()

    async def _send_messages(self) -> None:
        while (message := self._next_message()) is not None:
            await self._write(message)

    def _next_message(self) -> bytes | None:
        if self._messages:
            return self._messages.popleft()
        message, self._progress = self._progress, None
        return message

    async def _send_result(self, outgoing: Outgoing, token: int) -> None:
        """Write a range frame by frame; the memory is given back as soon as the last frame is copied."""
        data, last = outgoing.data, len(outgoing.outputs) - 1
        for place, output in enumerate(outgoing.outputs):
            for start in range(0, len(data), FRAME_BYTES):
                await self._send_messages()
                if self._is_closed:
                    return
                payload = data[start : start + FRAME_BYTES]
                frame = encode_frame(0, output, outgoing.offset + start, payload, Envelope.RESPONSE, checked=True)
                self.sent_bytes += len(payload)
                self._traffic.sent[GRPC] += len(payload)
                if place == last and start + FRAME_BYTES >= len(data) and self._peer is not None:
                    self._peer.done(token)
                await self._write(frame)

    async def _write(self, message: bytes) -> None:
        self._is_writing = True
        self._stall.restart()
        await self._writer.write(message)
        self._is_writing = False
        self._stall.moved(len(message))

    def _offer(self) -> pb.Bulk | None:
        if self._listener is None or (self._shared is not None and self._shared.is_open):
            return None
        self._secret = self._listener.offer(self)
        return pb.Bulk(port=self._listener.port, secret=self._secret)

    def _end_bulk(self) -> None:
        """Let nobody come for the bulk connection any more, and end the one that stands."""
        if self._listener is not None and self._secret is not None:
            self._listener.withdraw(self._secret)
            self._secret = None
        if self._bulk is not None:
            self._bulk.close()
            self._bulk = None

    def _duty(self) -> object | None:
        is_writing = (
            self._is_writing
            or (self._bulk is not None and self._bulk.is_sending)
            or (self._shared is not None and self._shared.is_sending)
        )
        return self._wants.oldest() or ("does not read its results" if is_writing else None)

    def _wanted_bytes(self) -> int:
        return 0 if self._shared is not None and self._shared.is_open else self._wants.open_bytes

    def _put(self, message: bytes) -> None:
        self._messages.append(message)
        self._news.set()
