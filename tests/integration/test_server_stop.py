"""How real servers end: what goes on during the drain and what does not, who is told, and when it is over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from calls import Failure, ask, failure_of, info, refusal, watch
from grpc_health.v1 import health_pb2
from servers import RunningServer, running_server
from wire import Call, channel_to, frame_message, next_want, open_run, responses, run_graph, start_message

import arraymill as am
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation, Resident
from arraymill_proto.v1 import arraymill_pb2 as pb

SECONDS = 30
X = np.arange(100_000.0)
SUM = Graph((Input(X.shape, X.dtype), Operation("sum", (0,))), (1,))
SMALL = Graph((Input((1,), X.dtype, None, X[1:2].tobytes()), Operation("sum", (0,))), (1,))

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def stuck_job(server: RunningServer) -> AsyncGenerator[Call]:
    """A job whose client was asked for bytes, and does not feed it."""
    async with channel_to(server.address) as channel:
        call = open_run(channel)
        await call.write(start_message(SUM))
        yield call


async def ends(server: RunningServer) -> int:
    return await asyncio.to_thread(server.process.wait, SECONDS)


def watch_health(channel: grpc.aio.Channel) -> Any:
    return watch(channel, WATCH, health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)


async def hears(server: RunningServer, channel: grpc.aio.Channel) -> None:
    """Tell a server to stop, and wait until it has heard."""
    watching = watch_health(channel)
    assert (await watching.read()).status == SERVING
    server.process.send_signal(signal.SIGTERM)
    assert (await watching.read()).status == NOT_SERVING
    watching.cancel()


async def rest_of(call: Call) -> list[Any]:
    """Read a call to its end."""
    messages: list[Any] = []
    while (message := await call.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


async def end_of(call: Call) -> Failure:
    """Read a call to its end, which must be a failure."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rest_of(call)
    return failure_of(caught.value)


async def is_told(call: Call) -> None:
    told = await end_of(call)
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert told.retry_seconds is not None


async def test_the_drain_ends_and_the_client_of_a_stuck_job_is_told() -> None:
    with running_server("--drain", "0.5", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call:
            await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            await is_told(call)
            assert await ends(server) == 0


async def test_a_second_signal_ends_the_drain() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call, channel_to(server.address) as channel:
            await next_want(call)
            await hears(server, channel)
            server.process.send_signal(signal.SIGTERM)
            await is_told(call)
            assert await ends(server) == 0


async def test_the_end_of_the_parent_hurries_the_drain_that_a_signal_began() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        stdin, server.process.stdin = server.process.stdin, None
        assert stdin is not None
        async with stuck_job(server) as call:
            await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            stdin.close()
            await is_told(call)
            assert await ends(server) == 0


async def test_no_new_work_is_taken_and_what_runs_ends() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call, channel_to(server.address) as channel:
            want = await next_want(call)
            silent = open_run(channel)
            await silent.wait_for_connection()
            watching = watch_health(channel)
            assert (await watching.read()).status == SERVING
            await hears(server, channel)
            assert (await watching.read()).status == NOT_SERVING
            check = await ask(channel, CHECK, health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)
            assert check.status == NOT_SERVING
            await refuses_new_work(channel)
            assert (await info(channel)).running_jobs == 1

            await call.write(frame_message(want.want, want.index, want.offset, X.tobytes()))
            results = [response.frame.data async for response in responses(call) if response.HasField("frame")]
            assert np.frombuffer(results[0], X.dtype) == X.sum()
            # Nobody waits for those who only wait: neither for the silent stream nor for the watch.
            assert await ends(server) == 0
            await is_told(silent)
            assert (await end_of(watching)).code is grpc.StatusCode.UNAVAILABLE


async def refuses_new_work(channel: grpc.aio.Channel) -> None:
    small, large = graph_to_pb(SMALL), graph_to_pb(SMALL)
    large.nodes[0].input.inline = bytes(1 << 20)
    for graph in (small, large):
        for method, request, answer in (
            ("Compute", pb.ComputeRequest(graph=graph), pb.ComputeResponse),
            ("SubmitJob", pb.SubmitJobRequest(graph=graph), pb.Job),
        ):
            told = await refusal(channel, method, request, answer)
            assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN"), method
            assert told.retry_seconds is not None
    for keep in (None, pb.Keep(name="x")):
        call = open_run(channel)
        await call.write(start_message(SMALL, keep))
        await is_told(call)


async def test_submitted_jobs_end_and_their_results_are_fetched() -> None:
    with running_server("--drain", "3600", workers=1, arena="64MiB") as server:
        async with channel_to(server.address) as channel:
            kept = await ask(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph_to_pb(SUM)), pb.Job)
            lost = await ask(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph_to_pb(SUM)), pb.Job)
            waiting = asyncio.ensure_future(
                ask(channel, "GetJob", pb.GetJobRequest(id=kept.id, wait_seconds=60), pb.Job)
            )
            watching = watch(channel, "WatchJob", pb.WatchJobRequest(id=lost.id), pb.Job)
            assert (await watching.read()).id == lost.id
            await hears(server, channel)

            listed = await ask(channel, "ListJobs", pb.ListJobsRequest(), pb.ListJobsResponse)
            assert [job.id for job in listed.jobs] == [kept.id, lost.id]
            await ask(channel, "CancelJob", pb.CancelJobRequest(id=lost.id), pb.Job)
            states = [job.state for job in await rest_of(watching)]
            assert states[-1] == pb.JOB_CANCELLED
            await feed(channel, kept.id)
            done = await waiting
            assert done.state == pb.JOB_SUCCEEDED
            assert await fetched(channel, done.results[0].id) == X.sum()
            assert await ends(server) == 0


async def feed(channel: grpc.aio.Channel, id: str) -> None:
    call = open_run(channel)
    await call.write(pb.RunRequest(attach=pb.Attach(job_id=id)).SerializeToString())
    want = await next_want(call)
    await call.write(frame_message(want.want, want.index, want.offset, X.tobytes()))
    assert [response.HasField("done") async for response in responses(call)][-1]


async def fetched(channel: grpc.aio.Channel, id: str) -> Any:
    """Read a resident array in both ways."""
    graph = Graph((Resident(id),), (0,))
    answer = await ask(channel, "Compute", pb.ComputeRequest(graph=graph_to_pb(graph)), pb.ComputeResponse)
    call = open_run(channel)
    await call.write(start_message(graph))
    data = [response.frame.data async for response in responses(call) if response.HasField("frame")]
    assert data == [answer.results[0].data]
    return np.frombuffer(data[0], X.dtype)[0]


async def test_a_server_without_work_stops_at_once_whoever_watches() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        async with channel_to(server.address) as channel:
            silent = [open_run(channel) for _ in range(3)]
            for call in silent:
                await call.wait_for_connection()
            await run_graph(channel, SUM, [X])  # gRPC takes calls of a method in their order: all of them are there
            begin = monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert await ends(server) == 0
            assert monotonic() - begin < SECONDS
            for call in silent:
                await is_told(call)


async def test_the_client_of_a_job_that_runs_gets_its_answer() -> None:
    with running_server("--drain", "3600", workers=1, arena="64MiB") as server:
        async with am.AsyncClient(server.address) as mill, channel_to(server.address) as channel:
            job = await mill.submit(np.sqrt(am.asarray(X)).sum())
            result = asyncio.ensure_future(job.result(timeout=SECONDS))
            await hears(server, channel)
            assert await result == pytest.approx(np.sqrt(X).sum())
            assert await ends(server) == 0
