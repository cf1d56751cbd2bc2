"""The exchange of a submitted job: the stream changes, the job does not notice.

A client that attaches has the job for itself: one that was there before is replaced, and from that very moment on it
brings nothing any more, neither by frames nor by its bulk connection. What it had not brought is wanted again:
the next client may be another process, which cuts the array into other frames.

While nobody is attached nothing is said: whoever comes is told everything that is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from arraymill_proto.bulk import Record
from arraymill_proto.frames import FrameView
from arraymill_proto.graph import Graph, Input
from arraymill_server.jobs.exchange import Peer, Started
from arraymill_server.jobs.submitted import Figures
from arraymill_server.metrics.counts import Traffic
from arraymill_server.rpc import messages
from arraymill_server.rpc.bulk import BulkConnection
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.lanes import StreamExchange, Writer

GRACE_SECONDS: Final = 10.0
"""Longest time to begin of a client that attaches when its job has waited long: some round trips on a bad line."""


class _Nobody:
    """The stream while no client is attached: nothing is ever written to it."""

    async def write(self, message: bytes) -> None:
        raise AssertionError("nobody is attached")


class Session:
    """One client's time at a job. Make it in a running event loop."""

    def __init__(self, exchange: FedExchange) -> None:
        self._exchange = exchange
        self.gate = exchange.gate
        """Opens for the frames of the client."""
        self.sending = asyncio.ensure_future(exchange.send_all())
        """Writes to the client until the job has ended; cancelled when the client leaves or is replaced."""
        self.is_replaced = False
        """True when another client has attached."""

    def receive(self, frame: FrameView) -> None:
        """Take a frame of the client in; one of a client that was replaced is dropped.

        Raises:
            FrameError: It does not fit what was asked for.
        """
        if not self.is_replaced:
            self._exchange.receive(frame)

    def input_ended(self) -> None:
        """Another client may bring the rest."""

    async def wait_said(self) -> None:
        """Wait until a job that has ended has nothing more to say: gRPC takes one message of a call at a time."""
        await asyncio.wait([self.sending])
        if not self.sending.cancelled():
            self.sending.result()


class FedExchange(StreamExchange):
    """Frames on whatever stream is attached. Make it in a running event loop, and `end` it.

    Args:
        graph: The job's.
        stall_seconds: What may pass without a client, or a move of it, while a want is open.
        traffic: Counts bytes; None: nobody asks for them.
    """

    def __init__(self, graph: Graph, stall_seconds: float, traffic: Traffic | None = None) -> None:
        super().__init__(graph, _Nobody(), stall_seconds, traffic=traffic)
        inputs = [node for node in graph.nodes if isinstance(node, Input)]
        sizes = zip(inputs, self._inline.nbytes, strict=True)
        self._input_bytes = sum(nbytes for node, nbytes in sizes if node.inline is None)
        self._blocks_done = 0
        self._started: Started | None = None
        self._session: Session | None = None
        self._grace_seconds = min(stall_seconds / 4, GRACE_SECONDS)
        self._has_grace = True
        """Once between two bytes: whoever comes and goes, and brings nothing, is silent."""
        self.on_start: Callable[[], None] | None = None
        self.on_progress: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        """Called when the job has ended."""

    def __repr__(self) -> str:
        return f"<FedExchange {'fed' if self._session else 'waits for a client'}: {self._wants!r}>"

    @property
    def figures(self) -> Figures:
        """How far the job is."""
        return Figures(self._input_bytes, self.received_bytes, self._blocks_done, self._blocks)

    # ------------------------------------------------------------------ Exchange

    def start(self, started: Started, peer: Peer) -> None:
        if self.on_start is not None:
            self.on_start()
        self._started = started
        self._has_grace = True
        super().start(started, peer)

    def progress(self, blocks_done: int) -> None:
        self._blocks_done = blocks_done
        self.on_progress()
        super().progress(blocks_done)

    def end(self) -> None:
        self.close()  # a job that never ran has not done it
        super().end()
        self.on_end()

    # ------------------------------------------------------------------ clients

    @contextmanager
    def attached(self, writer: Writer, bulk: BulkListener | None) -> Generator[Session]:
        """Let a client feed the job; one that feeds it already is replaced.

        Args:
            writer: The sending half of its call.
            bulk: Where it may open a bulk connection; None: nowhere.
        """
        if self._session is not None:
            self._session.is_replaced = True
            self._detach(self._session)
        self._writer, self._listener = writer, bulk
        session = self._session = Session(self)
        if self._started is not None:
            self._put(messages.accepted(self._started, self._offer()))
            for number, wanted in self._wants.reopen():
                self._put(messages.want(number, wanted))
            self.on_progress()
        if self._has_grace and self._stall.allow(self._grace_seconds):
            self._has_grace = False
        try:
            yield session
        finally:
            if self._session is session:
                self._detach(session)

    def moved(self, nbytes: int) -> None:
        self._has_grace = True
        self.on_progress()
        super().moved(nbytes)

    def arrived(self, record: Record) -> None:
        self.on_progress()
        super().arrived(record)

    def bulk_lost(self, connection: BulkConnection) -> None:
        """Want anew what had not fully arrived."""
        self.on_progress()
        super().bulk_lost(connection)

    def bulk_failed(self, error: Exception) -> None:
        """The connection ends; the job goes on with frames, or with another client."""

    def _put(self, message: bytes) -> None:
        if self._session is not None:
            super()._put(message)

    async def _write(self, message: bytes) -> None:
        """Write; to hear is no move of a client: whoever comes is told much, and may bring nothing."""
        await self._writer.write(message)

    def _detach(self, session: Session) -> None:
        session.sending.cancel()  # from now on, not from the next turn of the loop on: it takes no message any more
        self._end_bulk()
        self._session, self._writer, self._listener = None, _Nobody(), None
        self._messages.clear()
        self._progress = None

    def _duty(self) -> object | None:
        return self._wants.oldest()  # a client that does not read harms nobody: the job has nothing for it
