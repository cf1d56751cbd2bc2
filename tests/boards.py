"""A board with everything under it and the handlers above it, on a loop whose time a test moves."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc.aio
import numpy as np
from plans import floats, graph_of, operation
from strategies import Array

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import ArraymillError
from arraymill_proto.frames import Envelope, encode_frame
from arraymill_proto.graph import Graph, Input, Resident
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.board import Board
from arraymill_server.jobs.life import JobEvent
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.jobs.storage import MemoryStorage
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.rpc.bulk_listener import BulkListener
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.status import declared
from arraymill_server.rpc.submitted import SubmittedServicer
from arraymill_server.testing.calls import MemoryCall
from arraymill_server.testing.clock import ClockedLoop
from arraymill_server.testing.held_engine import HeldEngine

STALL_SECONDS = 10.0
TTL_SECONDS = 100.0
BLOCK = 512
"""Elements of a block."""


@dataclass(frozen=True)
class Case:
    """A job: its graph, what is streamed to it, and what comes of it."""

    graph: Graph
    array: Array | None = None
    results: tuple[Array, ...] = ()
    """Empty: it is never accepted."""

    @property
    def kept(self) -> tuple[int, ...]:
        """Bytes of each array that it leaves behind: one for each node that is an output."""
        sizes = zip(self.graph.outputs, (result.nbytes for result in self.results), strict=True)
        return tuple(dict(sizes).values())

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(graph_to_pb(self.graph).SerializeToString(deterministic=True)).digest()


X = np.arange(4.0 * BLOCK)
LONG = np.arange(32.0 * BLOCK)
SMALL = np.arange(8.0)
_X, _LONG, _SMALL = floats(X.size), floats(LONG.size), Input(SMALL.shape, SMALL.dtype, None, SMALL.tobytes())
_MEAN, _CENTRED = operation("mean", 0), operation("subtract", 0, 1)
_ROOTS, _TOTAL = np.sqrt(X), np.asarray(np.sqrt(X).sum())

SUM = Case(graph_of(_X, operation("sum", 0)), X, (np.asarray(X.sum()),))
SQRT = Case(graph_of(_X, operation("sqrt", 0), operation("sum", 1), outputs=(2, 1, 2)), X, (_TOTAL, _ROOTS, _TOTAL))
CENTRED = Case(graph_of(_X, _MEAN, _CENTRED), X, (X - X.mean(),))
WIDE = Case(graph_of(_LONG, _MEAN, _CENTRED, operation("max", 2)), LONG, (np.asarray((LONG - LONG.mean()).max()),))
"""Holds its input, half of the arena: two cannot run at a time."""
INLINE = Case(graph_of(_SMALL, operation("negative", 0)), None, (-SMALL,))
HUGE = Case(graph_of(_LONG, operation("sqrt", 0)), LONG)
"""Would keep more than all resident arrays may hold."""
LOST = Case(graph_of(Resident("nobody"), operation("sum", 0)))


class Bench:
    """A server's middle whose tasks and time a test controls. Make it in a running event loop.

    Args:
        arena_bytes: Of which a quarter is for results.
        max_waiting: Jobs that may wait for memory.
        max_per_client: Jobs of one client that may wait or run.
        on_event: Gets every line of the journal, and its job.
    """

    def __init__(
        self,
        *,
        arena_bytes: int = 1 << 18,
        max_waiting: int = 100,
        max_per_client: int = 100,
        on_event: Callable[[JobEvent], None] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.arena = Arena((ctypes.c_ubyte * arena_bytes)())
        self.engine = HeldEngine(self.arena.space, workers=2)
        self.residents = Residents(self.arena, arena_bytes // 4, TTL_SECONDS, self.clock)
        self.admission = Admission(self.arena, max_waiting)
        self.jobs = Jobs(self.arena, self.engine, self.admission, self.residents, slots=4, block_elements=BLOCK)
        self.storage = MemoryStorage(on_event)
        self.board = Board(
            self.jobs,
            self.admission,
            self.residents,
            declare=partial(declared, method="SubmitJob"),
            max_per_client=max_per_client,
            storage=self.storage,
            clock=self.clock,
        )
        self.servicer = SubmittedServicer(self.board, self.residents, STALL_SECONDS, Calls(100))

    def get(self, id: str) -> SubmittedJob:
        return self.board.ledger.get(id)

    async def submit(self, case: Case, client: str = "a", **terms: Any) -> pb.Job:
        """Submit as a client does."""
        request = pb.SubmitJobRequest(graph=graph_to_pb(case.graph), **terms)
        return await self.servicer.submit_job(request, any_(MemoryCall(client, grpc.aio.EOF)))

    async def feed(self, id: str, call: MemoryCall, bulk: BulkListener | None = None) -> None:
        """Attach as a client does."""
        await self.servicer.feed(id, any_(call), bulk)

    def work(self) -> None:
        """Let every task end that workers hold."""
        for _ in self.engine.held:
            self.engine.end_one()

    def array(self, id: str) -> Array:
        """A copy of a resident array as it lies in the arena; all of these tests lie in C order."""
        array = self.residents.get(id)
        return self.arena.view(array.lease.offset, array.type.shape, None, array.type.dtype).copy()

    async def close(self) -> None:
        """End everything, and see that nothing is left."""
        closing = asyncio.ensure_future(self.board.close())
        while not closing.done():
            self.work()
            await asyncio.sleep(0)
        closing.result()
        while arrays := self.residents.page()[0]:
            assert {array.pins for array in arrays} == {0}
            self.residents.delete(arrays[0].id)  # and with it all that its job has left
        assert repr(self.board).startswith("<Board 0 live, ")
        assert (self.arena.leases, self.residents.used_bytes, self.jobs.running) == ((), 0, 0)
        assert repr(self.residents).startswith("<Residents 0 arrays, 0 pending")


class Feeder:
    """A client that feeds a job, frame by frame as a test says.

    Args:
        loop: Where its call runs.
        bench: Where it attaches.
        job_id: The job.
        case: What it computes.
        piece_bytes: Into which it cuts its frames.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bench: Bench, job_id: str, case: Case, *, piece_bytes: int = 1000
    ) -> None:
        self.job_id = job_id
        self.call = MemoryCall("feeder", grpc.aio.EOF)
        self.task = begin(loop, bench.feed(job_id, self.call))
        self.is_honest = True
        self._data = b"" if case.array is None else case.array.tobytes()
        self._piece_bytes = piece_bytes

    @property
    def told(self) -> list[pb.RunResponse]:
        """What it was told, oldest first."""
        return [pb.RunResponse.FromString(message) for message in self.call.sent]

    @property
    def kinds(self) -> list[str]:
        return [response.WhichOneof("message") or "" for response in self.told]

    @property
    def wants(self) -> list[pb.Want]:
        return [response.want for response in self.told if response.HasField("want")]

    @property
    def error(self) -> ArraymillError | None:
        """With which its call has failed."""
        if not self.task.done() or self.task.cancelled():
            return None
        error = self.task.exception()
        assert error is None or isinstance(error, ArraymillError), error
        return error

    def frames(self, want: pb.Want) -> list[bytes]:
        """The frames that answer a want."""
        data, end = self._data, want.offset + want.length
        return [
            encode_frame(want.want, want.index, at, data[at : min(at + self._piece_bytes, end)], Envelope.REQUEST)
            for at in range(want.offset, end, self._piece_bytes)
        ]

    def answer(self) -> int:
        """Answer all wants; return how many there are. Those that were answered before are answered again."""
        wants = self.wants
        for want in wants:
            for frame in self.frames(want):
                self.call.send(frame)
        return len(wants)

    def leave(self) -> None:
        """Cancel the call."""
        self.task.cancel()


def begin(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a client's task; what becomes of it is nobody's defect."""
    task = loop.create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


def any_(call: MemoryCall) -> Any:
    """A call, where gRPC's context is asked for."""
    return call


class Stage:
    """A bench on a loop of its own, for tests that tell a story step by step.

    Args:
        options: As of `Bench`.
    """

    def __init__(self, **options: Any) -> None:
        self.loop = ClockedLoop()
        self.journal: list[JobEvent] = []
        self.bench = self.loop.run(self._make(options))

    async def _make(self, options: dict[str, Any]) -> Bench:
        return Bench(on_event=self.journal.append, **options)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let something run beside the test."""
        return begin(self.loop, work)

    def settle(self) -> None:
        """Let everything happen that can happen."""
        self.loop.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, for results as well."""
        self.loop.advance(seconds)
        self.bench.residents.expire(self.loop.now)
        self.settle()

    def submit(self, case: Case, client: str = "a", **terms: Any) -> SubmittedJob:
        """Submit; return the job as the board knows it."""
        return self.bench.get(self.loop.run(self.bench.submit(case, client, **terms)).id)

    def attach(self, job: SubmittedJob, case: Case, *, piece_bytes: int = 1000) -> Feeder:
        """Attach a client."""
        feeder = Feeder(self.loop, self.bench, job.id, case, piece_bytes=piece_bytes)
        self.settle()
        return feeder

    def described(self, id: str, wait_seconds: float = 0.0) -> pb.Job:
        """Ask for a job."""
        request = pb.GetJobRequest(id=id, wait_seconds=wait_seconds)
        return self.loop.run(self.bench.servicer.get_job(request, any_(MemoryCall("asker", grpc.aio.EOF))))

    def cancel(self, id: str) -> asyncio.Task[pb.Job]:
        """Begin to cancel a job."""
        call = any_(MemoryCall("canceller", grpc.aio.EOF))
        return self.begin(self.bench.servicer.cancel_job(pb.CancelJobRequest(id=id), call))

    def work(self) -> None:
        """Let every task end that there is, and will be."""
        self.settle()
        while self.bench.engine.held:
            self.bench.work()
            self.settle()

    def finish(self, job: SubmittedJob, case: Case) -> Feeder:
        """Feed a job to its end."""
        feeder = self.attach(job, case)
        while not job.state.has_ended:
            feeder.answer()
            self.work()
        self.settle()
        return feeder

    def fail(self, job: SubmittedJob, case: Case, error: Exception) -> None:
        """Feed a job until a task of it fails."""
        self.attach(job, case).answer()
        self.settle()
        self.bench.engine.end_one(error)
        self.work()

    def events(self, job: SubmittedJob) -> list[str]:
        """What has happened to a job."""
        return [event.event.value for event in self.journal if event.job_id == job.id]

    def close(self) -> None:
        """End everything, and see that nothing is left."""
        self.loop.run(self.bench.close())
        self.settle()
        assert not asyncio.all_tasks(self.loop)
        assert not self.loop.defects
        self.loop.close()
