"""Jobs on a real arena and real engines, without a wire."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from strategies import Array

from arraymill_proto.graph import Graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Engine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.request import Keep, Report, Request
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.testing.exchange import MemoryExchange


class Mill:
    """A server's middle: jobs, arena and engine."""

    def __init__(
        self, arena: Arena, engine: Engine, *, slots: int = 4, block_elements: int | None = None, max_waiting: int = 64
    ) -> None:
        self.arena = arena
        self.residents = Residents(arena, arena.size // 4, 3600)
        self.admission = Admission(arena, max_waiting)
        self.jobs = Jobs(arena, engine, self.admission, self.residents, slots=slots, block_elements=block_elements)

    async def compute(
        self,
        graph: Graph,
        arrays: Sequence[Array] = (),
        *,
        frame_bytes: int = 1 << 20,
        seed: int | None = None,
    ) -> list[Array]:
        """Run a job; return its results."""
        random = None if seed is None else Random(seed)
        exchange = MemoryExchange(arrays, frame_bytes=frame_bytes, random=random)
        report = await self.jobs.run(Request(graph, "client"), exchange)
        assert exchange.is_closed
        assert report.received_bytes == exchange.received_bytes
        return exchange.results

    async def keep(self, graph: Graph, arrays: Sequence[Array] = (), name: str = "") -> Report:
        """Run a job that keeps its result."""
        return await self.jobs.run(Request(graph, "client", Keep(name)), MemoryExchange(arrays))
