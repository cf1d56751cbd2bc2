"""The shell around a machine: what it does when its exchange fails."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from arraymill_proto.errors import FrameError
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.exchange import Peer, Started
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs, Request
from arraymill_server.plan.model import Wanted
from arraymill_server.testing.exchange import MemoryExchange

ARRAY = np.arange(1000.0)
SUM = Graph((Input(ARRAY.shape, ARRAY.dtype), Operation("sum", (0,))), (1,))


class Failing(MemoryExchange):
    """An exchange that fails when it is told that its job runs, and notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__([ARRAY])
        self.wanted: list[Wanted] = []

    def start(self, started: Started, peer: Peer) -> None:
        super().start(started, peer)
        peer.fail(FrameError("no"))

    def want(self, wanted: Wanted, target: memoryview, token: int) -> None:
        self.wanted.append(wanted)
        super().want(wanted, target, token)


async def test_a_job_whose_exchange_fails_at_its_start_asks_for_nothing() -> None:
    arena = Arena((ctypes.c_ubyte * (1 << 20))())
    engine = SerialEngine(arena.memory)
    jobs = Jobs(arena, engine, Admission(arena, 10), Residents(arena, 0, 60.0), slots=3)
    exchange = Failing()
    with pytest.raises(FrameError):
        await jobs.run(Request(SUM, "me"), exchange)
    await engine.close()
    assert (exchange.wanted, exchange.is_closed, jobs.running) == ([], True, 0)
