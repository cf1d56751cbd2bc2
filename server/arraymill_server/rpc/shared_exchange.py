"""A job of one message whose arrays lie in memory that its client shares, or come through it."""

from __future__ import annotations

import asyncio

from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing, Peer, Started
from arraymill_server.jobs.wants import Wants
from arraymill_server.metrics.counts import MEMORY, Traffic
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc.inline import OneAnswer
from arraymill_server.rpc.shared_lane import NeedsRunError, SharedLane
from arraymill_server.rpc.stall import Stall


class SharedExchange(OneAnswer):
    """Ranges of inputs come through shared memory; results go in the response, or are left in place.

    There is no stream beside it: where the memory goes away while something is wanted, the job fails with
    NeedsRunError. Make it in a running event loop.

    Args:
        graph: The job's.
        lane: Its way through shared memory.
        stall_seconds: What the client may take between two moves while something is wanted of it.
        traffic: Counts bytes when the job has ended; none of one that needs Run, where all of them are counted.
    """

    def __init__(self, graph: Graph, lane: SharedLane, stall_seconds: float, traffic: Traffic) -> None:
        super().__init__(graph)
        self._wants = Wants(self._inline.nbytes)
        self._lane = lane
        self._stall = Stall(stall_seconds, self._wants.oldest)
        self._stall.expired.add_done_callback(self._expired)
        self._is_placed = False
        self._all_traffic = traffic
        self._needs_run = False

    def __repr__(self) -> str:
        return f"<SharedExchange {self._wants!r}, {self._lane!r}>"

    @property
    def received_bytes(self) -> int:
        return self._wants.received_bytes

    def answer(self) -> pb.ComputeResponse:
        """The answer without its times, once the job has ended."""
        answer = pb.ComputeResponse(results=self.results(), memory_outputs=self._is_placed)
        self._count()
        return answer

    # ------------------------------------------------------------------ Exchange

    def start(self, started: Started, peer: Peer) -> None:
        super().start(started, peer)
        self._is_placed = started.is_placed
        self._wants.received_bytes += started.at_hand_bytes
        self._traffic.received[MEMORY] += started.at_hand_bytes
        if started.is_placed:
            self.sent_bytes = self.placed_bytes = started.result_bytes
        self._lane.begin(self)

    def want(self, wanted: Wanted, target: memoryview, token: int, address: int = 0) -> None:
        assert self._peer is not None
        if self._inline.fill(wanted, target):
            self._peer.done(token)
        elif not self._lane.is_open:
            self._fail_for_run()
        else:
            is_waiting = self._wants.oldest() is not None
            self._lane.fill(self._wants.open(wanted, target, token), wanted, address)
            if not is_waiting:  # else its silence goes on
                self._stall.restart()

    def close(self) -> None:
        self._stall.close()
        self._lane.close()
        self._wants.close()
        self._count()

    # ------------------------------------------------------------------ LaneOwner

    def shared_filled(self, want: int) -> None:
        before = self._wants.received_bytes
        token = self._wants.filled(want)
        self._traffic.received[MEMORY] += self._wants.received_bytes - before
        if token is not None and self._peer is not None:
            self._stall.moved(self._wants.received_bytes - before)
            self._peer.done(token)

    def moved(self, nbytes: int) -> None:
        """Results are not offered there."""

    def sent(self, outgoing: Outgoing, token: int) -> None:
        """Likewise."""

    def shared_failed(self, error: Exception) -> None:
        if self._peer is not None:
            self._peer.fail(error)

    def shared_lost(self, unsent: list[tuple[Outgoing, int]]) -> None:
        """Go on with what is there; it does not suffice if something is wanted, or will be."""
        if self._wants.oldest() is not None:
            self._fail_for_run()

    # ------------------------------------------------------------------ inside

    def _fail_for_run(self) -> None:
        self._needs_run = True
        self.shared_failed(NeedsRunError())

    def _count(self) -> None:
        """Count what is not counted yet."""
        if not self._needs_run:
            self._all_traffic.take(self._traffic)

    def _expired(self, expired: asyncio.Future[None]) -> None:
        error = None if expired.cancelled() else expired.exception()
        if isinstance(error, Exception):
            self.shared_failed(error)
