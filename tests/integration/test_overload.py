"""More than a server can do: who is refused and how, who is not, and who comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from calls import Failure, ask, failure_of, info, refusal
from grpc_health.v1 import health_pb2
from servers import RunningServer, running_server
from wire import Call, next_want, open_run, responses, start_message

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.identity import CLIENT_KEY
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.arange(100_000.0)
SUM = Graph((Input(X.shape, X.dtype), Operation("sum", (0,))), (1,))
PLACES = 8
SECONDS = 30


def inline_sum(nbytes: int) -> pb.ComputeRequest:
    graph = Graph((Input((nbytes,), np.dtype("u1"), None, bytes(nbytes)), Operation("sum", (0,))), (1,))
    return pb.ComputeRequest(graph=graph_to_pb(graph))


def long_graph() -> pb.ComputeRequest:
    """A job with too many operations for the event loop to do itself, at once."""
    steps = 80
    nodes = [Operation("negative", (node,)) for node in range(steps)]
    graph = Graph((Input((8,), np.dtype("f8"), None, bytes(64)), *nodes, Operation("sum", (steps,))), (steps + 1,))
    return pb.ComputeRequest(graph=graph_to_pb(graph))


LONG = long_graph()


@pytest.fixture(scope="module")
def eight() -> Iterator[RunningServer]:
    """A server that takes eight calls."""
    with running_server("--max-streams", str(PLACES), "--max-client-jobs", "2", workers=1, arena="64MiB") as server:
        yield server


@pytest_asyncio.fixture
async def small(eight: RunningServer) -> RunningServer:
    """The server, when the test before has left nothing."""
    async with connection(eight.address) as channel, asyncio.timeout(SECONDS):
        while True:
            if not (await info(channel)).running_jobs:
                return eight
            await asyncio.sleep(0.01)


@asynccontextmanager
async def connection(address: str) -> AsyncGenerator[grpc.aio.Channel]:
    """A connection of its own: channels with the same options share one."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def failure(call: Call) -> Failure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [response async for response in responses(call)]
    return failure_of(caught.value)


async def hold(channel: grpc.aio.Channel, **options: Any) -> Call:
    """Take a place: a job that waits for its client."""
    make: Any = channel.stream_stream
    call = make("/arraymill.v1.Arraymill/Run", request_serializer=None, response_deserializer=None)(**options)
    await call.write(start_message(SUM))
    return call


async def hold_all(channel: grpc.aio.Channel) -> list[Call]:
    """Take places until one is refused."""
    held: list[Call] = []
    while True:
        call = await hold(channel)
        try:
            await next_want(call)
        except grpc.aio.AioRpcError:
            return held
        held.append(call)


@pytest_asyncio.fixture
async def full(small: RunningServer) -> AsyncIterator[RunningServer]:
    """The server, with every place taken."""
    async with AsyncExitStack() as stack:
        held = list[Call]()
        while len(held) < PLACES:
            held += await hold_all(await stack.enter_async_context(connection(small.address)))
        yield small
        for call in held:
            call.cancel()


async def test_a_client_may_have_as_many_places_as_are_free(small: RunningServer) -> None:
    async with connection(small.address) as first, connection(small.address) as second:
        held = [await hold_all(first), await hold_all(second)]
        assert [len(calls) for calls in held] == [5, 2]
        told = await failure(await hold(first))
        assert (told.code, told.reason, told.retry_seconds) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", 1.0)
        assert (told.numbers["calls"], told.numbers["client_calls"], told.numbers["limit"]) == ("7", "5", "8")
        async with connection(small.address) as third:
            assert len(await hold_all(third)) == 1
        for call in held[0] + held[1]:
            call.cancel()


async def test_connections_of_one_name_are_one_client(small: RunningServer) -> None:
    name = {"metadata": ((CLIENT_KEY, "one-and-the-same"),)}
    async with connection(small.address) as first, connection(small.address) as second:
        calls = [await hold(channel, **name) for channel in (first, second, first, second, first)]
        for call in calls:
            await next_want(call)
        assert (await failure(await hold(second, **name))).numbers["client_calls"] == "5"
        other = await hold(second)
        await next_want(other)
        graph = graph_to_pb(SUM)
        jobs = [
            await ask(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph), pb.Job, **name)
            for channel in (first, second)
        ]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(first, "SubmitJob", pb.SubmitJobRequest(graph=graph), pb.Job, **name)
        assert "--max-client-jobs 2" in failure_of(caught.value).text
        for job in jobs:
            await ask(second, "CancelJob", pb.CancelJobRequest(id=job.id), pb.Job)
        for call in (*calls, other):
            call.cancel()


@pytest.mark.parametrize("nbytes", [8, 1 << 20])
async def test_refusals_say_when_to_come_back(full: RunningServer, nbytes: int) -> None:
    async with connection(full.address) as channel:
        told = await refusal(channel, "Compute", inline_sum(nbytes), pb.ComputeResponse)
        assert (told.code, told.reason, told.retry_seconds) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", 1.0)
        assert (told.numbers["calls"], told.numbers["limit"]) == ("8", "8")


async def test_what_is_too_large_is_not_told_to_come_back(full: RunningServer) -> None:
    async with connection(full.address) as channel:
        told = await refusal(channel, "Compute", inline_sum(3 << 20), pb.ComputeResponse)
        assert (told.reason, told.retry_seconds) == ("INVALID_JOB", None)


async def test_questions_and_submitted_jobs_are_not_refused(full: RunningServer) -> None:
    async with connection(full.address) as channel:
        check = await ask(
            channel, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        assert (await info(channel)).running_jobs == PLACES
        job = await ask(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph_to_pb(SUM)), pb.Job)
        feeding = open_run(channel)
        await feeding.write(pb.RunRequest(attach=pb.Attach(job_id=job.id)).SerializeToString())
        await next_want(feeding)
        assert (await ask(channel, "GetJob", pb.GetJobRequest(id=job.id), pb.Job)).state == pb.JOB_RUNNING
        assert job.id in [each.id for each in (await ask(channel, "ListJobs", b"", pb.ListJobsResponse)).jobs]
        ended = await ask(channel, "CancelJob", pb.CancelJobRequest(id=job.id), pb.Job)
        assert ended.state == pb.JOB_CANCELLED


async def test_a_client_with_one_job_does_not_wait_behind_one_with_hundreds() -> None:
    with running_server(workers=1, arena="64MiB") as server:
        async with connection(server.address) as much, connection(server.address) as little:
            await ask(little, "Compute", LONG, pb.ComputeResponse)
            many = [asyncio.ensure_future(ask(much, "Compute", LONG, pb.ComputeResponse)) for _ in range(120)]
            await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.02)  # all of them are there
            before = sum(call.done() for call in many)
            for _ in range(5):
                await ask(little, "Compute", LONG, pb.ComputeResponse)
            overtaken = len(many) - sum(call.done() for call in many)
            await asyncio.gather(*many)
            # one line for all would let almost all of them go first
            assert overtaken > (len(many) - before) // 8, f"{overtaken} of {len(many) - before} were still waiting"
