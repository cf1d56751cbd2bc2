"""Jobs of one message whose arrays lie in shared memory: what they say, and what they make of the answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from arraymill import asarray
from arraymill._connection import Connection
from arraymill._expression import expression_of
from arraymill._graph import Computation, build
from arraymill._memory import MemorySession
from arraymill._segment import Place
from arraymill._shared_job import ANSWER_BYTES, INLINE_BYTES, MAX_NODES, compute_shared, suits
from arraymill._transfer import Options
from arraymill_proto.codec import type_to_pb
from arraymill_proto.errors import ArraymillError, InternalError
from arraymill_proto.graph import ArrayType
from arraymill_proto.memory import CHOSEN_JOB
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_proto.v1 import memory_pb2

LARGE, SMALL = np.ones(1 << 17), np.arange(4.0)


def job_of(*arrays: Any) -> Computation:
    return build([expression_of(asarray(array)) for array in arrays])


SUM = job_of(asarray(LARGE).sum())
ROOTS = job_of(asarray(LARGE) ** 0.5)


class Session:
    """Memory in which some arrays lie."""

    def __init__(self, *placed: Any) -> None:
        self.secret, self.is_open = b"secret", True
        self.jobs: dict[int, Any] = {}
        self._placed = placed

    def place(self, array: Any) -> Place | None:
        return next((Place(7, 0, array.strides) for each in self._placed if np.shares_memory(each, array)), None)

    def next_number(self) -> int:
        return CHOSEN_JOB

    def enter(self, number: int, job: Any) -> None:
        self.jobs[number] = job

    def leave(self, number: int) -> None:
        self.jobs.pop(number, None)

    def range(self, address: int, length: int) -> Any:
        raise InternalError("bytes that it shares")


class Server:
    """Answers what it is told to."""

    def __init__(self, answer: pb.ComputeResponse | None = None) -> None:
        self.answer = answer
        self.asked: list[pb.ComputeRequest] = []

    async def compute(self, request: pb.ComputeRequest, timeout: float | None) -> pb.ComputeResponse:
        self.asked.append(request)
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        return cast("pb.ComputeResponse", self.answer)


async def run(server: Server, session: Session, job: Computation, **options: Any) -> Any:
    given = cast("Connection", server), cast("MemorySession", session)
    values = await compute_shared(given[0], job, Options(**options), given[1])
    assert not session.jobs, "nothing is left there"
    return values


def type_of(array: Any) -> pb.ArrayType:
    return type_to_pb(ArrayType(array.shape, array.dtype))


def answer_of(*values: Any, **fields: Any) -> pb.ComputeResponse:
    arrays = [np.asarray(value) for value in values]
    results = [pb.InlineArray(type=type_of(array), data=array.tobytes()) for array in arrays]
    return pb.ComputeResponse(results=results, **fields)


# ------------------------------------------------------------------ which jobs


def test_which_jobs_travel_so() -> None:
    out, chain = np.empty_like(LARGE), asarray(LARGE)
    for _ in range(MAX_NODES):
        chain = -chain
    assert suits(SUM, Options())
    assert suits(ROOTS, Options(outs=[out]))
    assert not suits(ROOTS, Options()), f"more than {ANSWER_BYTES} bytes of results"
    assert not suits(job_of(LARGE, LARGE), Options(outs=[out, None]))
    assert not suits(SUM, Options(progress=lambda _: None)), "reports come on a stream"
    assert not suits(job_of(chain.sum()), Options())


# ------------------------------------------------------------------ what is said


async def test_small_inputs_go_along_and_others_stay() -> None:
    placed, little = np.ones(1 << 17), np.ones(INLINE_BYTES // 8 + 1)
    job = job_of((asarray(placed) * asarray(LARGE)).sum() + asarray(SMALL).sum() + asarray(little).sum())
    server = Server(answer_of(np.float64(5)))
    assert await run(server, Session(placed), job) == [5]
    (request,) = server.asked
    assert request.memory.session == b"secret"
    assert request.memory.job == CHOSEN_JOB
    (told,) = request.memory.inputs
    assert (np.shares_memory(job.inputs[told.index], placed), told.segment, tuple(told.strides)) == (True, 7, (8,))
    inputs = [node.input for node in request.graph.nodes if node.HasField("input")]
    inline = {index: bytes(each.inline) for index, each in enumerate(inputs) if each.HasField("inline")}
    assert [np.shares_memory(job.inputs[index], SMALL) for index in inline] == [True]
    assert list(inline.values()) == [SMALL.tobytes()]


async def test_nothing_is_said_where_memory_is_gone_or_results_have_no_place() -> None:
    server, session = Server(), Session()
    session.is_open = False
    assert await run(server, session, SUM) is None
    assert await run(server, Session(), ROOTS, outs=[np.empty_like(LARGE)]) is None
    assert server.asked == []


# ------------------------------------------------------------------ what is answered


async def test_a_job_that_needs_a_stream_has_no_results() -> None:
    assert await run(Server(pb.ComputeResponse(needs_run=True)), Session(), SUM) is None


async def test_results_that_were_left_in_place_are_the_arrays_of_the_caller() -> None:
    out = np.empty_like(LARGE)
    left = pb.ComputeResponse(results=[pb.InlineArray(type=type_of(out))], memory_outputs=True)
    (value,) = await run(Server(left), Session(out), ROOTS, outs=[out])
    assert value is out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answer_of(), "0 results of 1"),
        (answer_of(np.float64(1), np.float64(2)), "2 results of 1"),
        (answer_of(np.float32(1)), "float32"),
        (answer_of(np.float64(1), memory_outputs=True), "where there was no place"),
    ],
)
async def test_an_answer_that_makes_no_sense(answer: pb.ComputeResponse, words: str) -> None:
    with pytest.raises(InternalError, match=words):
        await run(Server(answer), Session(), SUM)


async def test_what_the_server_must_not_say_there_ends_the_job() -> None:
    server, session = Server(), Session()
    running = asyncio.ensure_future(run(server, session, SUM))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    session.jobs[CHOSEN_JOB].fill(memory_pb2.Fill(job=CHOSEN_JOB, want=1, address=1 << 60, length=5))
    with pytest.raises(ArraymillError, match="bytes that it shares"):
        await running
    assert not session.jobs


async def test_a_job_that_is_cancelled_leaves_the_memory() -> None:
    session = Session()
    running = asyncio.ensure_future(run(Server(), session, SUM))
    await asyncio.sleep(0)
    assert list(session.jobs) == [CHOSEN_JOB]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not session.jobs
