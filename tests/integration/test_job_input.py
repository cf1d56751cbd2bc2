"""Whatever is asked of submitted jobs on the wire, it is answered with a typed error, and the server goes on."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from calls import Failure, ask, failure_of, info, refusal, watch
from servers import RunningServer, running_server
from wire import Call, channel_to, frame_message, next_want, open_run, responses, start_message, wanted_bytes

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Node, Operation
from arraymill_proto.identity import CLIENT_KEY
from arraymill_proto.v1 import arraymill_pb2 as pb

SECONDS = 30
MAX_JOBS = 210
X = np.arange(100_000.0)
SMALL = np.arange(10.0)


def graph_of(*nodes: Node) -> Any:
    return graph_to_pb(Graph(nodes, (len(nodes) - 1,)))


FED = graph_of(Input(X.shape, X.dtype), Operation("sum", (0,)))
INLINE = graph_of(Input(SMALL.shape, SMALL.dtype, None, SMALL.tobytes()), Operation("sum", (0,)))
OTHER = graph_of(Input(SMALL.shape, SMALL.dtype, None, SMALL.tobytes()), Operation("max", (0,)))

_LONG = Input((1 << 24,), np.dtype("f8"))
_SCANNED = (Operation("cumsum", (0,)), Input((2, 1), np.dtype("f8")), Operation("add", (1, 2)))
NEVER_FITS = graph_of(_LONG, *_SCANNED, Operation("max", (3,)))
"""A scan that is used twice must be there as a whole."""
KEEPS_TOO_MUCH = graph_of(_LONG, Operation("sqrt", (0,)))


@pytest.fixture(scope="module")
def host() -> Iterator[RunningServer]:
    """A server with few bytes and a long line."""
    lines = ("--max-client-jobs", str(MAX_JOBS), "--max-waiting-jobs", str(2 * MAX_JOBS))
    with running_server(*lines, workers=1, arena="64MiB") as server:
        yield server


@pytest_asyncio.fixture
async def channel(host: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel; after the test a good job runs, and everything is given back."""
    async with channel_to(host.address) as channel:
        yield channel
        async with asyncio.timeout(SECONDS):
            job = await ended(channel, await submit(channel, graph=INLINE))
            assert job.state == pb.JOB_SUCCEEDED
            await clear(channel)
            told = await info(channel)
            assert (told.running_jobs, told.waiting_jobs, told.arena_free_bytes) == (0, 0, told.arena_bytes)


async def submit(channel: grpc.aio.Channel, **terms: Any) -> pb.Job:
    job: pb.Job = await ask(channel, "SubmitJob", pb.SubmitJobRequest(**terms), pb.Job)
    return job


async def described(channel: grpc.aio.Channel, id: str, wait_seconds: float = 0.0) -> pb.Job:
    job: pb.Job = await ask(channel, "GetJob", pb.GetJobRequest(id=id, wait_seconds=wait_seconds), pb.Job)
    return job


async def ended(channel: grpc.aio.Channel, job: pb.Job) -> pb.Job:
    return await described(channel, job.id, SECONDS)


async def listed(channel: grpc.aio.Channel) -> list[pb.Job]:
    page: pb.ListJobsResponse = await ask(channel, "ListJobs", pb.ListJobsRequest(page_size=1000), pb.ListJobsResponse)
    return list(page.jobs)


async def cancel(channel: grpc.aio.Channel, id: str) -> pb.Job:
    job: pb.Job = await ask(channel, "CancelJob", pb.CancelJobRequest(id=id), pb.Job)
    return job


async def clear(channel: grpc.aio.Channel) -> None:
    """Delete all jobs with their results; cancel those that go on."""
    while jobs := await listed(channel):
        going_on = [job.id for job in jobs if job.state in (pb.JOB_QUEUED, pb.JOB_RUNNING)]
        await asyncio.gather(*(cancel(channel, id) for id in going_on))
        deletions = [pb.DeleteJobRequest(id=job.id) for job in jobs]
        await asyncio.gather(*(ask(channel, "DeleteJob", each, pb.DeleteJobResponse) for each in deletions))


async def attach(channel: grpc.aio.Channel, id: str) -> Call:
    call = open_run(channel)
    await call.write(pb.RunRequest(attach=pb.Attach(job_id=id)).SerializeToString())
    return call


async def failure(call: Call) -> Failure:
    """How a stream fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [response async for response in responses(call)]
    return failure_of(caught.value)


def check(host: RunningServer, told: Failure, code: str, reason: str, *texts: str, **numbers: str) -> None:
    """Check what is said: the code, the reason, the numbers in both places, and nothing about the machine."""
    assert (told.code.name, told.reason) == (code, reason), told.text
    for text in texts:
        assert text in told.text, told.text
    assert {name: told.numbers.get(name) for name in numbers} == numbers, told.numbers
    for said in (told.text, *told.numbers.values()):
        assert "/" not in said, said
        assert "Traceback" not in said
        assert not re.search(rf"(?<![\d,]){host.pid}(?![\d,])", said), said
        assert len(said) < 600


# ---------------------------------------------------------------------- unknown jobs

ASKED: dict[str, tuple[Any, Any]] = {
    "GetJob": (pb.GetJobRequest, pb.Job),
    "CancelJob": (pb.CancelJobRequest, pb.Job),
    "DeleteJob": (pb.DeleteJobRequest, pb.DeleteJobResponse),
}


async def every_refusal(channel: grpc.aio.Channel, id: str) -> list[Failure]:
    """What each call says to an id."""
    told = [await refusal(channel, method, request(id=id), answer) for method, (request, answer) in ASKED.items()]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch(channel, "WatchJob", pb.WatchJobRequest(id=id), pb.Job).read()
    return [*told, failure_of(caught.value), await failure(await attach(channel, id))]


@pytest.mark.parametrize("id", ["", "nobody", "é" * 3000, "\n"], ids=["empty", "word", "long", "control"])
async def test_a_job_that_nobody_knows(host: RunningServer, channel: grpc.aio.Channel, id: str) -> None:
    for told in await every_refusal(channel, id):
        check(host, told, "NOT_FOUND", "JOB_NOT_FOUND", "never submitted to this server, deleted, or ended long ago")
        assert told.retry_seconds is None


async def test_a_job_that_was_deleted(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await ended(channel, await submit(channel, graph=INLINE))
    await ask(channel, "DeleteJob", pb.DeleteJobRequest(id=job.id), pb.DeleteJobResponse)
    for told in await every_refusal(channel, job.id):
        check(host, told, "NOT_FOUND", "JOB_NOT_FOUND", job.id, job=job.id)


# ---------------------------------------------------------------------- terms

NEGATIVE_PRIORITY = pb.SubmitJobRequest(graph=INLINE).SerializeToString() + b"\x18" + b"\xff" * 9 + b"\x01"

TERMS: dict[str, tuple[Any, str, str]] = {
    "negative priority": (NEGATIVE_PRIORITY, "the priority is 4294967295, it must be 0 to 9", "priority"),
    "priority above the highest": ({"priority": 10}, "the priority is 10, it must be 0 to 9", "priority"),
    "deadline already past": (
        {"deadline_seconds": -2.5},
        "the deadline is in -2.5 s; give seconds above 0, or 0 for none",
        "deadline",
    ),
    "deadline that is no number": (
        {"deadline_seconds": math.nan},
        "the deadline is in nan s; give seconds",
        "deadline",
    ),
    "oversized key": ({"key": "k" * 129}, "the key has 129 characters, at most 128 are allowed", "key"),
    "a key of a megabyte": ({"key": "k" * 1_000_000}, "the key has 1,000,000 characters, at most 128", "key"),
    "a key with a space": ({"key": "my key"}, "the key 'my key' may have visible ASCII characters only", "key"),
}


@pytest.mark.parametrize("name", TERMS)
async def test_terms_that_make_no_sense(host: RunningServer, channel: grpc.aio.Channel, name: str) -> None:
    terms, text, parameter = TERMS[name]
    request = terms if isinstance(terms, bytes) else pb.SubmitJobRequest(graph=INLINE, **terms)
    told = await refusal(channel, "SubmitJob", request, pb.Job)
    check(host, told, "INVALID_ARGUMENT", "PARAMETER", text, parameter=parameter)
    assert await listed(channel) == []


async def test_a_deadline_that_passes_at_once(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await ended(channel, await submit(channel, graph=FED, deadline_seconds=1e-9))
    assert (job.state, job.error.reason) == (pb.JOB_FAILED, "DEADLINE")
    assert job.error.message == f"job {job.id} had not ended after 1e-09 s, its deadline"
    assert job.error.details["deadline_seconds"] == "1e-09"
    told = await failure(await attach(channel, job.id))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED")


async def test_a_key_with_another_graph(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await submit(channel, graph=INLINE, key="nightly")
    told = await refusal(channel, "SubmitJob", pb.SubmitJobRequest(graph=OTHER, key="nightly"), pb.Job)
    check(host, told, "ALREADY_EXISTS", "JOB_KEY", "the key 'nightly'", "choose another key, or delete", key="nightly")
    assert (await submit(channel, graph=INLINE, key="nightly")).id == job.id


TOO_MUCH = {
    "memory": (NEVER_FITS, ("in one piece, but the server's arena has 64 MiB", "larger --arena"), "available_bytes"),
    "results": (KEEPS_TOO_MUCH, ("the array takes 128 MiB", "larger --resident-budget"), "budget_bytes"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_a_job_that_can_never_fit(host: RunningServer, channel: grpc.aio.Channel, name: str) -> None:
    """Told with what it needs and what there is."""
    graph, texts, there = TOO_MUCH[name]
    told = await refusal(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph, key="large"), pb.Job)
    check(host, told, "RESOURCE_EXHAUSTED", "TOO_LARGE", *texts)
    assert int(told.numbers["needed_bytes"]) > int(told.numbers[there]) > 0
    assert told.retry_seconds is None, "to try again cannot help"
    assert (await submit(channel, graph=INLINE, key="large")).id, "the key is free"


@pytest.mark.parametrize("method", ["SubmitJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob"])
async def test_messages_that_cannot_be_read(host: RunningServer, channel: grpc.aio.Channel, method: str) -> None:
    told = await refusal(channel, method, b"\xff" * 40, pb.Job)
    check(host, told, "INVALID_ARGUMENT", "INVALID_JOB", f"the request of 40 bytes is no {method}Request")


# ---------------------------------------------------------------------- waits and pages


@pytest.mark.parametrize("seconds", [60.5, 1e300, -1.0, math.nan, math.inf])
async def test_a_wait_that_is_not_allowed(host: RunningServer, channel: grpc.aio.Channel, seconds: float) -> None:
    job = await submit(channel, graph=FED)
    told = await refusal(channel, "GetJob", pb.GetJobRequest(id=job.id, wait_seconds=seconds), pb.Job)
    text = f"wait_seconds is {seconds:g}, it must be 0 to 60; ask again for a longer wait"
    check(host, told, "INVALID_ARGUMENT", "PARAMETER", text, parameter="wait_seconds")


@pytest.mark.parametrize("token", ["x", "-1", "1" * 17, "é", "\x00", "../jobs"])
async def test_a_page_that_nobody_gave(host: RunningServer, channel: grpc.aio.Channel, token: str) -> None:
    told = await refusal(channel, "ListJobs", pb.ListJobsRequest(page_token=token), pb.ListJobsResponse)
    text = "is none that this server gave"
    assert (told.code, told.reason, text in told.text) == (grpc.StatusCode.INVALID_ARGUMENT, "PARAMETER", True)
    assert told.numbers == {"parameter": "page_token"}


# ---------------------------------------------------------------------- jobs that have ended


async def test_a_job_that_has_ended(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await ended(channel, await submit(channel, graph=INLINE))
    told = await refusal(channel, "CancelJob", pb.CancelJobRequest(id=job.id), pb.Job)
    text = f"job {job.id} has ended already: it has succeeded"
    check(host, told, "FAILED_PRECONDITION", "JOB_ENDED", text, job=job.id, state="SUCCEEDED")
    told = await failure(await attach(channel, job.id))
    text = f"job {job.id} has succeeded; it takes no input"
    check(host, told, "FAILED_PRECONDITION", "JOB_ENDED", text, job=job.id, state="SUCCEEDED")


async def test_a_job_that_was_cancelled(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await submit(channel, graph=FED)
    feeding = await attach(channel, job.id)
    await next_want(feeding)
    assert (await cancel(channel, job.id)).state == pb.JOB_CANCELLED
    check(host, await failure(feeding), "CANCELLED", "CANCELLED", f"job {job.id} was cancelled", job=job.id)
    assert (await cancel(channel, job.id)).state == pb.JOB_CANCELLED, "a second time, too"


async def test_a_job_whose_result_has_expired(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await ended(channel, await submit(channel, graph=INLINE, key="short", ttl_seconds=0.01))
    async with asyncio.timeout(SECONDS):
        while job.state != pb.JOB_EXPIRED:
            await asyncio.sleep(0.01)
            job = await described(channel, job.id)
    assert not job.results
    failed = await refusal(channel, "CancelJob", pb.CancelJobRequest(id=job.id), pb.Job)
    check(host, failed, "FAILED_PRECONDITION", "JOB_ENDED", "it had succeeded, and its results are gone")
    assert (await submit(channel, graph=OTHER, key="short")).id != job.id, "the key is free"


async def test_a_job_that_goes_on_is_not_deleted(host: RunningServer, channel: grpc.aio.Channel) -> None:
    job = await submit(channel, graph=FED)
    told = await refusal(channel, "DeleteJob", pb.DeleteJobRequest(id=job.id), pb.DeleteJobResponse)
    check(host, told, "INVALID_ARGUMENT", "INVALID_JOB", f"job {job.id} is running; cancel it first", job=job.id)


# ---------------------------------------------------------------------- feeding

FRAMES: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\xff" * 40, "not a message"),
    "a start": (start_message(Graph((), ())), "after Start or Attach the client sends frames only"),
    "a frame of nobody's want": (frame_message(999, 0, 0, b"x"), "a frame serves want 999, which the server has not"),
    "a frame of another input": (frame_message(1, 7, 0, b"x"), "a frame names input 7; the job has 1 inputs"),
    "a frame beyond the end": (frame_message(1, 0, X.nbytes, b"x"), "which has 800,000 bytes"),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_what_a_feeder_must_not_send(host: RunningServer, channel: grpc.aio.Channel, name: str) -> None:
    """It loses its stream; the job waits for a better one."""
    message, text = FRAMES[name]
    job = await submit(channel, graph=FED)
    feeding = await attach(channel, job.id)
    await next_want(feeding)
    await feeding.write(message)
    told = await failure(feeding)
    check(host, told, "INVALID_ARGUMENT", "FRAME", text)
    assert (await described(channel, job.id)).state == pb.JOB_RUNNING
    better = await attach(channel, job.id)
    async for response in responses(better):
        if response.HasField("want"):
            want = response.want
            await better.write(frame_message(want.want, 0, want.offset, wanted_bytes(X, want)))
    assert (await described(channel, job.id)).state == pb.JOB_SUCCEEDED


# ---------------------------------------------------------------------- hundreds of jobs


async def test_hundreds_of_jobs_that_wait(host: RunningServer, channel: grpc.aio.Channel) -> None:
    """Whoever asks about them is answered; one more of the same client is not taken; all of them can be cancelled."""
    graph = graph_of(_LONG, Operation("sum", (0,)))
    mine = {"metadata": ((CLIENT_KEY, "busy"),)}
    request = pb.SubmitJobRequest(graph=graph).SerializeToString()
    jobs = await asyncio.gather(*(ask(channel, "SubmitJob", request, pb.Job, **mine) for _ in range(MAX_JOBS)))
    told = await info(channel)
    assert told.waiting_jobs >= MAX_JOBS - 10, "else nothing was shown"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, "SubmitJob", request, pb.Job, **mine)
    refused = failure_of(caught.value)
    texts = (f"has {MAX_JOBS:,} submitted jobs", f"--max-client-jobs {MAX_JOBS}", "try again in 1 s")
    check(host, refused, "RESOURCE_EXHAUSTED", "BUSY", *texts, jobs=str(MAX_JOBS), limit=str(MAX_JOBS))
    assert refused.retry_seconds == 1.0
    states = {job.state for job in await listed(channel)}
    assert states == {pb.JOB_QUEUED, pb.JOB_RUNNING}
    last = max([await described(channel, job.id) for job in jobs[-20:]], key=lambda job: job.position)
    assert last.position > MAX_JOBS - 110
    assert (await cancel(channel, last.id)).state == pb.JOB_CANCELLED
    others = [job.id for job in jobs if job.id != last.id]
    ends = await asyncio.gather(*(cancel(channel, id) for id in others))
    assert {job.state for job in ends} == {pb.JOB_CANCELLED}
