"""Small jobs on one stream: each has its own end, and none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from halls import PLACES, applied, hall_of, play_whatever_it_takes, value
from patience import turns, until

from arraymill_proto.errors import DeadlineError, InvalidJobError
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.rpc import pipeline
from arraymill_server.rpc.pipeline import Pipeline
from arraymill_server.rpc.small import Hall
from arraymill_server.testing.calls import MemoryCall

X = np.arange(10.0)
STALL_SECONDS = 0.2
BAD = applied("power", np.array([1, 2]), np.array([1, -2]))


class Client:
    """The other end of a pipeline."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        call: Any = MemoryCall("a", grpc.aio.EOF)
        self.call = call
        self.pipeline = Pipeline(call, hall, STALL_SECONDS)
        self.task = asyncio.ensure_future(self.pipeline.serve())

    def send(self, *jobs: pb.PipelinedJob, cancelled: tuple[int, ...] = ()) -> None:
        self.call.send(pb.PipelineRequest(jobs=jobs, cancelled=cancelled).SerializeToString())

    @property
    def messages(self) -> list[pb.PipelineResponse]:
        return [pb.PipelineResponse.FromString(message) for message in self.call.sent]

    @property
    def answers(self) -> dict[int, pb.PipelinedAnswer]:
        return {answer.number: answer for message in self.messages for answer in message.answers}

    async def has(self, *numbers: int) -> dict[int, pb.PipelinedAnswer]:
        """Wait for answers; return all."""
        await until(lambda: self.answers.keys() >= set(numbers) or self.task.done())
        return self.answers


@pytest_asyncio.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    play_whatever_it_takes(monkeypatch)
    client = Client(hall_of())
    yield client
    client.call.end()
    client.task.cancel()
    await asyncio.wait([client.task])


def job(number: int, request: pb.ComputeRequest | None = None, seconds: float = 0.0) -> pb.PipelinedJob:
    return pb.PipelinedJob(number=number, request=request or applied("sum", X + number), timeout_seconds=seconds)


def reason_of(answer: pb.PipelinedAnswer) -> str:
    status, info = Status.FromString(answer.status), ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


async def test_each_job_has_its_answer(client: Client) -> None:
    for first in range(1, 40, 4):
        client.send(*(job(number) for number in range(first, first + 4)))
        await client.has(first)
    answers = await client.has(*range(1, 41))
    for number, answer in answers.items():
        assert value(answer.response) == np.sum(X + number)
    assert client.hall.small.played > 20
    client.call.end()
    await client.task
    assert repr(client.pipeline) == "<Pipeline of a: 0 jobs run, 0 answers wait>"


async def test_jobs_of_a_message_share_an_answer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "TURN_SECONDS", 60.0)
    for number in range(1, 4):
        client.send(job(number))
        await client.has(number)
    client.send(*(job(number) for number in range(4, 10)))
    await client.has(*range(4, 10))
    assert [answer.number for answer in client.messages[-1].answers] == list(range(4, 10))


async def test_each_message_is_told_when_its_jobs_have_begun(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    for number in range(1, 4):
        client.send(job(number))
        await until(lambda: held.entered == number)  # noqa: B023
        await until(lambda: bool(client.messages) and client.messages[-1].begun == number)  # noqa: B023
    assert not client.answers
    held.gate.set()
    await client.has(1, 2, 3)


async def test_a_job_that_fails_leaves_the_others_alone(client: Client) -> None:
    client.send(job(1), job(2, BAD), job(3, applied("nonsense", X)), job(4))
    answers = await client.has(1, 2, 3, 4)
    assert [answers[number].WhichOneof("outcome") for number in (1, 2, 3, 4)] == [
        "response", "status", "status", "response",
    ]  # fmt: skip
    assert (reason_of(answers[2]), reason_of(answers[3])) == ("COMPUTATION", "UNKNOWN_OPERATION")


async def test_a_job_without_a_place_is_refused_alone(client: Client) -> None:
    client.send(job(1))
    await client.has(1)
    with ExitStack() as places:
        for _ in range(PLACES):
            places.enter_context(client.hall.calls.jobs.taken("b", is_bounded=False))
        client.send(job(2))
        answers = await client.has(2)
        assert reason_of(answers[2]) == "BUSY"
    client.send(job(3))
    assert (await client.has(3))[3].HasField("response")


async def test_a_message_that_is_far_too_large_is_refused_alone(client: Client) -> None:
    client.send(job(1, applied("sum", np.zeros(300_000))), job(2))
    answers = await client.has(1, 2)
    assert reason_of(answers[1]) == "INVALID_JOB"
    assert answers[2].HasField("response")


class Held:
    """Lets the long way end when it is told."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        self.entered = self.cancelled = 0
        run = client.hall.jobs.run

        async def held(request: Any, exchange: Any) -> Any:
            self.entered += 1
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return await run(request, exchange)

        monkeypatch.setattr(client.hall.jobs, "run", held)


async def test_a_slow_job_holds_nobody_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        client.send(job(number))
        await client.has(number)
    held = Held(client, monkeypatch)
    client.send(job(4, applied("std", X)), job(5))
    assert 4 not in await client.has(5)
    held.gate.set()
    assert value((await client.has(4))[4].response) == np.std(X)


async def test_who_cancels_a_job_stops_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    client.send(job(1), job(2))
    await until(lambda: held.entered == 2)
    client.send(cancelled=(1, 7))
    await until(lambda: held.cancelled == 1)
    assert client.hall.calls.jobs.held == 1
    held.gate.set()
    assert (await client.has(2))[2].HasField("response")


async def test_a_job_has_its_deadline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    client.send(job(1, seconds=0.01), job(2, seconds=1e300), job(3, seconds=-1), job(4, seconds=float("nan")))
    answers = await client.has(1)
    assert reason_of(answers[1]) == "DEADLINE"
    assert held.cancelled == 1
    held.gate.set()
    await client.has(2, 3, 4)


async def test_a_client_that_goes_takes_its_jobs_with_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    client.send(job(1), job(2))
    await until(lambda: held.entered == 2)
    client.task.cancel()
    await asyncio.wait([client.task])
    assert held.cancelled == 2
    assert client.hall.calls.jobs.held == 0


async def test_a_job_that_the_server_cancels_is_answered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(client.hall.jobs, "run", cancelled)
    client.send(job(1))
    assert reason_of((await client.has(1))[1]) == "CANCELLED"


async def test_a_defect_is_told_as_an_internal_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(client.hall.jobs, "run", broken)
    client.send(job(1))
    answer = (await client.has(1))[1]
    assert reason_of(answer) == "INTERNAL"
    assert b"secret" not in answer.status


async def test_many_jobs_leave_the_loop_to_others(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        client.send(job(number))
        await client.has(number)
    monkeypatch.setattr(pipeline, "TURN_SECONDS", 0.0)
    begin = client.hall.small.played
    seen: list[int] = []
    client.send(*(job(number) for number in range(4, 24)))
    while client.hall.small.played < begin + 20:
        await turns(1)
        seen.append(client.hall.small.played)
    assert len(set(seen)) >= 20, "several jobs in one turn of the loop"


async def test_who_does_not_read_is_not_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        client.send(job(number))
        await client.has(number)
    monkeypatch.setattr(pipeline, "UNREAD_BYTES", 100)
    client.call.pause()
    for number in range(4, 30):
        client.send(job(number))
    with pytest.raises(DeadlineError, match="does not read the answers"):
        await client.task
    assert client.call._incoming.qsize() > 10


async def test_a_number_that_is_in_use_ends_the_stream(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    Held(client, monkeypatch)
    client.send(job(1))
    client.send(job(1))
    with pytest.raises(InvalidJobError, match="there is a job 1"):
        await client.task


async def test_what_is_no_message_ends_the_stream(client: Client) -> None:
    client.call.send(b"\xff\xff")
    with pytest.raises(InvalidJobError, match="is no PipelineRequest"):
        await client.task


async def test_the_end_of_the_stream_waits_for_its_jobs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    client.send(job(1))
    client.call.end()
    await turns(20)
    assert not client.task.done()
    held.gate.set()
    await client.task
    assert client.answers[1].HasField("response")


async def test_a_shutdown_tells_each_job(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(client, monkeypatch)
    client.send(job(1))
    await until(lambda: held.entered == 1)
    client.hall.calls.close()
    client.send(job(2))
    assert reason_of((await client.has(2))[2]) == "SHUTTING_DOWN"
    client.hall.calls.end()
    client.task.cancel()
    await asyncio.wait([client.task])
    assert reason_of(client.answers[1]) == "SHUTTING_DOWN"
