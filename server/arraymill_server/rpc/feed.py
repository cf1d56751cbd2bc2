"""The exchange of a submitted job: the stream changes, the job does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from arraymill_proto.graph import Graph, Input
from arraymill_server.jobs.exchange import Peer, Started
from arraymill_server.rpc import messages
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.lanes import StreamExchange, Writer


class _Nobody:
    """The stream while no client is attached: nothing is ever written to it."""

    async def write(self, message: bytes) -> None:
        raise AssertionError("nobody is attached")


@dataclass(slots=True, eq=False)
class Session:
    """One client's time at a job."""

    sending: asyncio.Future[None]
    """Writes to the client until the job has ended; cancelled when the client leaves or is replaced."""
    is_replaced: bool = False
    """True when another client has attached."""


class FedExchange(StreamExchange):
    """Frames on whatever stream is attached. What a stream that broke had not brought is wanted again on the next.

    Args:
        graph: The job's.
        stall_seconds: What may pass without a client, or a move of it, while a want is open.
    """

    def __init__(self, graph: Graph, stall_seconds: float) -> None:
        super().__init__(graph, _Nobody(), stall_seconds)
        inputs = [node for node in graph.nodes if isinstance(node, Input)]
        sizes = zip(inputs, self._inline.nbytes, strict=True)
        self.input_bytes = sum(nbytes for node, nbytes in sizes if node.inline is None)
        self.on_start: Callable[[], None] | None = None
        self.blocks_done = 0
        self._started: Started | None = None
        self._session: Session | None = None

    @property
    def blocks(self) -> int:
        """Blocks of work in all passes; 0 until the job runs."""
        return self._blocks

    # ------------------------------------------------------------------ Exchange

    def start(self, started: Started, peer: Peer) -> None:
        if self.on_start is not None:
            self.on_start()
        self._started = started
        super().start(started, peer)

    def progress(self, blocks_done: int) -> None:
        self.blocks_done = blocks_done
        super().progress(blocks_done)

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
        if self._started is not None:
            self._put(messages.accepted(self._started, self._offer()))
            for number, wanted in self._wants.reopen():
                self._put(messages.want(number, wanted))
        self._stall.restart()
        session = self._session = Session(asyncio.ensure_future(self.send_all()))
        try:
            yield session
        finally:
            if self._session is session:
                self._detach(session)

    def input_ended(self) -> None:
        """Another client may bring the rest."""

    def bulk_failed(self, error: Exception) -> None:
        """The connection ends; the job goes on with frames, or with another client."""

    def _detach(self, session: Session) -> None:
        session.sending.cancel()  # from now on, not from the next turn of the loop on: it takes no message any more
        self._session, self._writer, self._is_writing = None, _Nobody(), False
        self._end_bulk()
        self._messages.clear()
        self._progress = None
        if not self._is_closed:
            self._stall.restart()
