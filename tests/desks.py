"""All handlers above a bench, with few places for calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc.aio
from boards import STALL_SECONDS, Bench
from patience import turns, until
from wire import start_message

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.aside import LARGE_NODES
from arraymill_server.jobs.life import State
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.servicer import Servicer
from arraymill_server.rpc.submitted import SubmittedServicer
from arraymill_server.testing.calls import MemoryCall

PLACES = 3


class Desk:
    """The handlers above a bench, and a thread that thinks about something else. Make it in a running event loop."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.calls = Calls(PLACES)
        self.submitted = SubmittedServicer(self.bench.board, self.bench.residents, STALL_SECONDS, self.calls)
        self.servicer = Servicer(
            self.bench.jobs,
            self.bench.residents,
            self.bench.arena,
            self.bench.engine,
            calls=self.calls,
            stall_seconds=STALL_SECONDS,
            submitted=self.submitted,
        )
        self._gate = threading.Event()
        self._thought: asyncio.Future[bool] | None = None

    async def occupy(self) -> None:
        """Let the thread think until `free`."""
        thought = self.bench.jobs.aside.run("other", LARGE_NODES, self._gate.wait, 30)
        self._thought = asyncio.ensure_future(thought)
        await turns(2)

    async def free(self) -> None:
        self._gate.set()
        assert self._thought is not None
        await self._thought

    async def compute(self, graph: Graph) -> pb.ComputeResponse:
        return await self.servicer.compute(pb.ComputeRequest(graph=graph_to_pb(graph)), call_of("a"))

    async def run(self, graph: Graph, keep: pb.Keep | None = None) -> None:
        call = call_of("a")
        call.send(start_message(graph, keep))
        await self.servicer.run(None, call)

    async def attach(self, job_id: str) -> None:
        call = call_of("a")
        call.send(pb.RunRequest(attach=pb.Attach(job_id=job_id)).SerializeToString())
        await self.servicer.run(None, call)

    async def submit(self, graph: Graph, key: str = "") -> pb.Job:
        return await self.submitted.submit_job(pb.SubmitJobRequest(graph=graph_to_pb(graph), key=key), call_of("a"))

    async def work_until(self, condition: Callable[[], bool]) -> None:
        def works() -> bool:
            self.bench.work()
            return condition()

        await until(works)

    async def done(self, graph: Graph, key: str = "") -> str:
        """Submit a job and let it end; returns its id."""
        id = (await self.submit(graph, key)).id
        await self.work_until(lambda: self.bench.get(id).state is State.SUCCEEDED)
        return id


def call_of(client: str) -> Any:
    return MemoryCall(client, grpc.aio.EOF)
