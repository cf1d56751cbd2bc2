"""The client's end of the stream of small jobs, on a call that a test answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from patience import turns, until

from arraymill import _pipeline
from arraymill._pipeline import MAX_JOBS, MAX_MESSAGES, MESSAGE_BYTES, Pipeline
from arraymill_proto.errors import ConnectionFailedError, InternalError
from arraymill_proto.v1 import arraymill_pb2 as pb


class FakeCall:
    """A call as its client sees it."""

    def __init__(self) -> None:
        self.sent: list[pb.PipelineRequest] = []
        self.is_done = False
        self.is_cancelled = False
        self.may_write = asyncio.Event()
        self.may_write.set()
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()

    @property
    def numbers(self) -> list[list[int]]:
        """The jobs of each message."""
        return [[job.number for job in message.jobs] for message in self.sent]

    def answer(self, *numbers: int) -> None:
        answers = [
            pb.PipelinedAnswer(number=number, response=pb.ComputeResponse(times=pb.JobTimes(blocks=number)))
            for number in numbers
        ]
        self._incoming.put_nowait(pb.PipelineResponse(answers=answers, begun=len(self.sent)).SerializeToString())

    def tell(self, item: Any) -> None:
        """Let the next read give this, or raise it."""
        self._incoming.put_nowait(item)

    async def read(self) -> Any:
        item = await self._incoming.get()
        if isinstance(item, BaseException):
            raise item
        return item

    async def write(self, message: bytes) -> None:
        await self.may_write.wait()
        self.sent.append(pb.PipelineRequest.FromString(message))

    async def done_writing(self) -> None:
        self.is_done = True
        self._incoming.put_nowait(grpc.aio.EOF)

    def cancel(self) -> None:
        self.is_cancelled = True


class Bench:
    """A pipeline and its calls."""

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.pipeline = Pipeline("host:1", self._open)

    def _open(self) -> Any:
        self.calls.append(FakeCall())
        return self.calls[-1]

    def compute(self, data: bytes = b"", timeout: float | None = None) -> asyncio.Task[pb.PipelinedAnswer]:
        node = pb.Node(input=pb.Input(inline=data))
        request = pb.ComputeRequest(graph=pb.Graph(nodes=[node]))
        return asyncio.ensure_future(self.pipeline.compute(request, timeout))


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.pipeline.close()


async def test_a_job_that_comes_alone_travels_at_once(bench: Bench) -> None:
    job = bench.compute(b"abc", 2.5)
    await turns(3)
    (call,) = bench.calls
    (sent,) = call.sent[0].jobs
    assert (sent.number, sent.timeout_seconds, sent.request.graph.nodes[0].input.inline) == (1, 2.5, b"abc")
    call.answer(1)
    assert (await job).response.times.blocks == 1


async def test_jobs_of_a_moment_share_messages(bench: Bench) -> None:
    jobs = [bench.compute() for _ in range(2 * MAX_JOBS + 1)]
    await turns(10)
    (call,) = bench.calls
    assert [len(numbers) for numbers in call.numbers] == [MAX_JOBS, MAX_JOBS, 1]
    call.answer(*range(2 * MAX_JOBS + 1, MAX_JOBS, -1))
    call.answer(*range(1, MAX_JOBS + 1))
    answers = await asyncio.gather(*jobs)
    assert [answer.response.times.blocks for answer in answers] == list(range(1, 2 * MAX_JOBS + 2))


async def test_a_busy_server_lets_messages_fill(bench: Bench) -> None:
    jobs: list[asyncio.Task[pb.PipelinedAnswer]] = []
    for _ in range(MAX_MESSAGES + 4):
        jobs.append(bench.compute())
        await turns(3)
    (call,) = bench.calls
    one_each = [[number] for number in range(1, MAX_MESSAGES + 1)]
    assert call.numbers == one_each
    call.answer()  # all have begun, none has ended
    await turns(5)
    assert call.numbers == [*one_each, list(range(MAX_MESSAGES + 1, MAX_MESSAGES + 5))]
    call.answer(*range(1, MAX_MESSAGES + 5))
    await asyncio.gather(*jobs)


async def test_messages_have_their_size(bench: Bench) -> None:
    jobs = [bench.compute(bytes(MESSAGE_BYTES // 2)) for _ in range(4)]
    await turns(10)
    assert bench.calls[0].numbers == [[1, 2], [3, 4]]
    bench.calls[0].answer(1, 2, 3, 4)
    await asyncio.gather(*jobs)


async def cancelled(job: asyncio.Task[Any]) -> None:
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job


async def test_who_is_cancelled_tells_the_server(bench: Bench) -> None:
    jobs = [bench.compute() for _ in range(3)]
    await turns(3)
    await cancelled(jobs[1])
    await turns(3)
    (call,) = bench.calls
    assert [list(message.cancelled) for message in call.sent] == [[], [2]]
    call.answer(2, 3, 1)
    await asyncio.gather(jobs[0], jobs[2])


async def test_a_job_that_is_cancelled_before_it_travels_does_not(bench: Bench) -> None:
    first = bench.compute()
    await turns(3)
    (call,) = bench.calls
    call.may_write.clear()
    second = bench.compute()
    await turns(3)
    third, fourth = bench.compute(), bench.compute()
    await turns(3)
    await cancelled(third)
    call.may_write.set()
    await turns(5)
    assert call.numbers == [[1], [2], [4]]
    call.answer(1, 2, 4)
    await asyncio.gather(first, second, fourth)


def broken() -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "Socket closed")


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (broken(), grpc.aio.AioRpcError),
        (grpc.aio.EOF, ConnectionFailedError),
        (b"\xff\xff", InternalError),
        (grpc.aio.UsageError("closed"), grpc.aio.UsageError),
    ],
)
async def test_a_stream_that_ends_fails_its_jobs_and_the_next_opens_another(
    bench: Bench, item: Any, kind: type[Exception]
) -> None:
    jobs = [bench.compute(), bench.compute()]
    await turns(3)
    bench.calls[0].tell(item)
    for job in jobs:
        with pytest.raises(kind):
            await job
    assert bench.calls[0].is_cancelled
    job = bench.compute()
    await turns(3)
    bench.calls[1].answer(1)
    await job
    assert len(bench.calls) == 2


async def test_close_cancels_who_waits(bench: Bench) -> None:
    job = bench.compute()
    await turns(3)
    await bench.pipeline.close()
    with pytest.raises(asyncio.CancelledError):
        await job
    await bench.pipeline.close()


async def test_a_stream_that_nobody_uses_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "IDLE_SECONDS", 0.01)
    job = bench.compute()
    await turns(3)
    await asyncio.sleep(0.05)
    (call,) = bench.calls
    assert not call.is_done, "somebody waits"
    call.answer(1)
    await job
    await until(lambda: call.is_done and call.is_cancelled)
    assert "ended stream, 0 jobs wait" in repr(bench.pipeline)
    job = bench.compute()
    await turns(3)
    bench.calls[1].answer(1)
    await job


async def test_a_stream_that_is_used_is_not_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pipeline, "IDLE_SECONDS", 0.2)
    for number in range(1, 30):
        job = bench.compute()
        await turns(3)
        bench.calls[0].answer(number)
        await job
        await asyncio.sleep(0.01)
    assert len(bench.calls) == 1
