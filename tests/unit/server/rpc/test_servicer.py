"""The handlers without a network: a context that reads from a queue and fails when it is told to."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from wire import frame_message, start_message

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import BusyError, DeadlineError, TooLargeError, UnknownOperationError
from arraymill_proto.graph import ArrayType, Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import EngineStatus
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.board import Board
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.guard import guard
from arraymill_server.rpc.servicer import Servicer
from arraymill_server.rpc.status import declared
from arraymill_server.rpc.submitted import SubmittedServicer

ARRAY = np.arange(1000, dtype=np.float64)
INPUT = Input(ARRAY.shape, ARRAY.dtype)
DOUBLED = Graph((INPUT, Operation("add", (0, 0))), (1,))


class FakeContext:
    """What a handler sees of its call."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[pb.RunResponse] = []
        self.refuses: dict[str, BaseException] = {}
        """Messages, by kind, whose writing fails."""
        self.blocks: set[str] = set()
        """Messages, by kind, that are never taken."""
        self.is_blocked = asyncio.Event()
        self.status: Any = None
        self.abort_error: BaseException = grpc.aio.AbortError()

    def peer(self) -> str:
        return "fake:1"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return False

    async def send_initial_metadata(self, _: tuple[()]) -> None:
        """As with gRPC, before anything else."""

    async def read(self) -> Any:
        return await self.incoming.get()

    async def write(self, message: bytes) -> None:
        response = pb.RunResponse.FromString(message)
        kind = response.WhichOneof("message") or ""
        if kind in self.refuses:
            raise self.refuses[kind]
        if kind in self.blocks:
            self.is_blocked.set()
            await asyncio.get_running_loop().create_future()
        self.sent.append(response)
        if kind == "want":
            want = response.want
            data = ARRAY.tobytes()[want.offset : want.offset + want.length]
            self.incoming.put_nowait(frame_message(want.want, want.index, want.offset, data))

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise self.abort_error


class Bench:
    """A servicer and everything under it."""

    def __init__(self, size: int = 1 << 22) -> None:
        self.arena = Arena((ctypes.c_ubyte * size)())
        self.engine = SerialEngine(self.arena.space)
        self.residents = Residents(self.arena, size // 4, 60.0)
        self.admission = Admission(self.arena, 10)
        self.jobs = Jobs(self.arena, self.engine, self.admission, self.residents, slots=3)
        self.board = Board(
            self.jobs, self.admission, self.residents, declare=partial(declared, method="SubmitJob"), max_per_client=3
        )
        self.calls = Calls(2)
        self.submitted = SubmittedServicer(self.board, self.residents, 0.2, self.calls)
        self.servicer = Servicer(
            self.jobs,
            self.residents,
            self.arena,
            self.engine,
            calls=self.calls,
            stall_seconds=0.2,
            submitted=self.submitted,
        )

    async def run(self, context: FakeContext, graph: Graph, keep: pb.Keep | None = None) -> None:
        context.incoming.put_nowait(start_message(graph, keep))
        await self.servicer.run(None, _any(context))


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.engine.close()
    assert repr(bench.servicer) == "<Servicer <Calls: 0 open, 0 run jobs, 0 wait>, <Jobs 0 running, 0 waiting>>"


@pytest.mark.parametrize("name", ["", "mine"])
async def test_an_array_of_which_its_client_hears_stays(bench: Bench, name: str) -> None:
    context = FakeContext()
    await bench.run(context, DOUBLED, pb.Keep(name=name))
    assert bench.residents.get(context.sent[-1].done.array.id).name == name


@pytest.mark.parametrize("name", ["", "mine"])
async def test_an_array_of_which_its_client_cannot_be_told_is_deleted(bench: Bench, name: str) -> None:
    context = FakeContext()
    context.refuses["done"] = grpc.aio.InternalError("gone")
    with pytest.raises(grpc.aio.InternalError):
        await bench.run(context, DOUBLED, pb.Keep(name=name))
    assert (len(bench.residents), bench.residents.used_bytes) == (0, 0)
    context = FakeContext()
    await bench.run(context, DOUBLED, pb.Keep(name=name))
    assert len(bench.residents) == 1


async def test_a_client_that_does_not_read_the_end_loses_its_array(bench: Bench) -> None:
    context = FakeContext()
    context.blocks.add("done")
    with pytest.raises(DeadlineError, match="does not read the end of its job"):
        await bench.run(context, DOUBLED, pb.Keep(name="mine"))
    assert len(bench.residents) == 0


async def test_a_call_that_is_cancelled_at_its_end_loses_its_array(bench: Bench) -> None:
    context = FakeContext()
    context.blocks.add("done")
    call = asyncio.ensure_future(bench.run(context, DOUBLED, pb.Keep(name="mine")))
    await context.is_blocked.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert len(bench.residents) == 0


async def test_an_array_that_another_client_deleted_is_no_error(bench: Bench) -> None:
    context = FakeContext()
    context.blocks.add("done")
    call = asyncio.ensure_future(bench.run(context, DOUBLED, pb.Keep(name="mine")))
    await context.is_blocked.wait()
    bench.residents.delete("mine")
    await asyncio.wait([call])
    assert isinstance(call.exception(), DeadlineError)


def table(rows: int) -> pb.ComputeRequest:
    """A request whose result has 8,000 bytes for each row."""
    column = Input((rows, 1), np.dtype("f8"), None, bytes(8 * rows))
    row = Input((1000,), np.dtype("f8"), None, bytes(8000))
    return pb.ComputeRequest(graph=graph_to_pb(Graph((column, row, Operation("add", (0, 1))), (2,))))


async def test_a_result_too_large_for_one_message_is_refused_before_its_memory(bench: Bench) -> None:
    context: Any = FakeContext()
    everything = bench.arena.lease(bench.arena.largest_free, "others")
    assert everything is not None
    with pytest.raises(TooLargeError, match="the results have 1,056,000 bytes, one answer holds 1,048,576"):
        await asyncio.wait_for(bench.servicer.compute(table(132), context), 5)
    everything.release()
    response = await bench.servicer.compute(table(131), context)
    assert len(response.results[0].data) == 131 * 8000


async def test_calls_are_counted(bench: Bench) -> None:
    context: Any = FakeContext()
    everything = bench.arena.lease(bench.arena.largest_free, "others")
    assert everything is not None
    waiting = [asyncio.ensure_future(bench.servicer.compute(table(1), context)) for _ in range(2)]
    await asyncio.sleep(0)
    assert repr(bench.servicer).startswith("<Servicer <Calls: 0 open, 2 run jobs, 0 wait>")
    with pytest.raises(BusyError, match="2 of 2 calls that run jobs are open"):
        await bench.servicer.compute(table(1), context)
    everything.release()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("gone", [grpc.aio.InternalError("gone"), grpc.aio.UsageError("finished")])
async def test_an_error_for_a_client_that_has_gone_is_no_defect(gone: Exception) -> None:
    async def handler(request: object, context: Any) -> None:
        raise BusyError("full")

    context: Any = FakeContext()
    context.abort_error = gone
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await guard(handler, Calls(1))(b"", context)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("client gone", "debug")]


async def test_what_nobody_declared_crosses_as_an_id() -> None:
    async def handler(request: object, context: Any) -> None:
        raise RuntimeError("secret")

    context: Any = FakeContext()
    with capture_logs() as logs, pytest.raises(grpc.aio.AbortError):
        await guard(handler, Calls(1))(b"", context)
    assert context.status.code is grpc.StatusCode.INTERNAL
    assert logs[0]["error_id"] in context.status.details
    assert "secret" not in context.status.details


def lines(logs: list[Any]) -> list[tuple[str, str, str, bool]]:
    """Level, outcome, reason of every line about a job, and whether the job had run."""
    return [
        (entry["log_level"], entry["outcome"], entry["reason"], bool(entry["id"]))
        for entry in logs
        if entry["event"] == "job"
    ]


async def test_every_job_leaves_one_line(bench: Bench) -> None:
    good, gone, slow, bad = (FakeContext() for _ in range(4))
    gone.refuses["header"] = grpc.aio.InternalError("gone")
    slow.blocks.add("frame")
    with capture_logs() as logs:
        await bench.run(good, DOUBLED)
        for context in (gone, slow):
            with pytest.raises((grpc.aio.InternalError, DeadlineError)):
                await bench.run(context, DOUBLED)
        with pytest.raises(UnknownOperationError):
            await bench.run(bad, Graph((INPUT, Operation("secret", (0,))), (1,)))
        call = asyncio.ensure_future(bench.servicer.run(None, _any(FakeContext())))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert lines(logs) == [
        ("debug", "done", "", True),
        ("debug", "cancelled", "CANCELLED", True),
        ("info", "failed", "DEADLINE", True),
        ("info", "refused", "UNKNOWN_OPERATION", False),
        ("debug", "cancelled", "CANCELLED", False),
    ]
    assert (logs[0]["peer"], logs[0]["received_bytes"], logs[0]["sent_bytes"]) == ("fake:1", 8000, 8000)
    assert "secret" not in repr(logs)


def _any(context: FakeContext) -> Any:
    return context


# ---------------------------------------------------------------------- information


async def test_the_information_tells_of_memory_workers_and_calls(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    status = EngineStatus(2, 1, 0, 3, {"crashed": 2, "killed": 1}, recycled=4, fenced=1)
    monkeypatch.setattr(SerialEngine, "status", status)
    array = bench.residents.reserve(ArrayType((1000,), ARRAY.dtype), (0,), client="c")
    assert array.place()
    with bench.calls.jobs.taken("c"), bench.calls.jobs.taken("d"), bench.calls.waits.taken("c"):
        with pytest.raises(BusyError):
            bench.calls.jobs.check("e")
        info = await bench.servicer.get_server_info(pb.GetServerInfoRequest(), _any(FakeContext()))
    assert (info.workers, info.busy_workers, dict(info.worker_endings)) == (2, 1, {"crashed": 2, "killed": 1})
    assert (info.recycled_workers, info.fenced_workers) == (4, 1)
    assert (info.resident_bytes, info.resident_budget_bytes) == (array.size, 1 << 20)
    assert info.arena_bytes - info.arena_free_bytes - info.arena_reserved_bytes == array.size
    assert info.arena_largest_free_bytes == info.arena_free_bytes
    assert (info.job_calls, info.max_job_calls, info.waiting_calls, info.refused_calls) == (2, 2, 1, 1)
    bench.residents.abort(array)
