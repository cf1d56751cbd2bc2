"""Jobs of one message: the first ones go the long way, the next are played, and nobody can tell."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from halls import PLACES, applied, hall_of, play_whatever_it_takes, value
from structlog.testing import capture_logs

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import (
    BusyError,
    ComputationError,
    ConnectionFailedError,
    InvalidJobError,
    Reason,
    ShapeError,
)
from arraymill_proto.graph import Graph, Input, Operation, Resident
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.small import KEY_BYTES
from arraymill_server.rpc.small import MAX_SMALL_NODES, Hall, SmallJob, check_size

X = np.arange(10.0)


@pytest_asyncio.fixture
async def hall(monkeypatch: pytest.MonkeyPatch) -> Hall:
    play_whatever_it_takes(monkeypatch)
    return hall_of()


def job_of(hall: Hall, request: pb.ComputeRequest, client: str = "a") -> SmallJob:
    return SmallJob(request, request.ByteSize(), hall, peer="ipv4:1.2.3.4:5", client=client)


async def answered(hall: Hall, request: pb.ComputeRequest) -> tuple[pb.ComputeResponse, bool]:
    """Answer a job as a handler does; tell whether it was played."""
    before = request.SerializeToString(deterministic=True)
    job = job_of(hall, request)
    answer = job.play()
    if answer is not None:
        return answer, True
    assert request.SerializeToString(deterministic=True) == before, "its elements are not where they were"
    return await job.run(), False


async def known(hall: Hall, request: pb.ComputeRequest) -> None:
    """Let a job come until it is played."""
    for _ in range(20):
        copy = pb.ComputeRequest()
        copy.CopyFrom(request)
        if (await answered(hall, copy))[1]:
            return
    pytest.fail("it is never played")


async def test_the_third_job_is_played_and_has_the_same_answer(hall: Hall) -> None:
    answers = [await answered(hall, applied("std", X + offset)) for offset in (0.0, 1.0, 2.0, 3.0)]
    assert [is_played for _, is_played in answers] == [False, False, True, True]
    for offset, (answer, _) in enumerate(answers):
        np.testing.assert_array_equal(value(answer), np.std(X + offset))
    long_way, played = answers[0][0], answers[2][0]
    assert played.results[0].type == long_way.results[0].type
    assert played.results[0].order == long_way.results[0].order
    for name in ("received_bytes", "sent_bytes", "blocks", "passes"):
        assert getattr(played.times, name) == getattr(long_way.times, name) > 0
    assert played.times.total >= 0
    assert hall.small.played == 2


async def test_parameters_and_types_make_another_job(hall: Hall) -> None:
    for _ in range(4):
        for dtype in (np.float32, np.float64):
            for ddof in (0, 1):
                answer, _ = await answered(hall, applied("var", X.astype(dtype), ddof=ddof))
                np.testing.assert_allclose(value(answer, dtype), np.var(X, ddof=ddof), rtol=1e-6)


async def test_the_axes_of_a_result_may_come_in_another_order(hall: Hall) -> None:
    x = np.arange(12.0).reshape(3, 4)
    graph = Graph((Input((4, 3), x.dtype, (1, 0), x.tobytes()), Operation("sqrt", (0,))), (1,))
    for _ in range(4):
        answer, _ = await answered(hall, pb.ComputeRequest(graph=graph_to_pb(graph)))
        assert list(answer.results[0].order) == [1, 0]
        np.testing.assert_array_equal(value(answer), np.sqrt(x).ravel())
    assert hall.small.played


async def test_values_that_a_kernel_refuses_are_told_as_ever(hall: Hall) -> None:
    good, bad = np.array([1, 2]), np.array([1, -2])
    with pytest.raises(ComputationError) as first:
        await answered(hall, applied("power", good, bad))
    await known(hall, applied("power", good, good))
    with pytest.raises(ComputationError) as later:
        await answered(hall, applied("power", good, bad))
    assert str(later.value) == str(first.value)
    assert (await answered(hall, applied("power", good, good)))[1]


async def test_too_few_elements_are_told_as_ever(hall: Hall) -> None:
    request = applied("sum", X)
    await known(hall, request)
    request.graph.nodes[0].input.inline = X.tobytes()[:-1]
    with pytest.raises(ShapeError, match="needs 80 bytes, 79 were sent"):
        await answered(hall, request)


async def test_an_input_that_is_not_inline_is_told_as_ever(hall: Hall) -> None:
    request = applied("sum", X)
    await known(hall, request)
    request.graph.nodes[0].input.ClearField("inline")
    with pytest.raises(InvalidJobError, match="is not inline"):
        await answered(hall, request)


def jobs_that_are_never_played() -> dict[str, pb.ComputeRequest]:
    deep = Graph((Input(X.shape, X.dtype, None, X.tobytes()), *(Operation("negative", (0,)),) * MAX_SMALL_NODES), (1,))
    long = Graph((Input(X.shape, X.dtype, None, X.tobytes()), Operation("sum", (0,))), (1,) * (KEY_BYTES + 1))
    return {
        "many nodes": pb.ComputeRequest(graph=graph_to_pb(deep)),
        "a long graph": pb.ComputeRequest(graph=graph_to_pb(long)),
    }


@pytest.mark.parametrize("name", jobs_that_are_never_played())
async def test_some_jobs_are_never_played(hall: Hall, name: str) -> None:
    for _ in range(5):
        _, is_played = await answered(hall, jobs_that_are_never_played()[name])
        assert not is_played


async def test_resident_arrays_are_looked_up_each_time(hall: Hall) -> None:
    graph = Graph((Resident("gone"), Operation("sum", (0,))), (1,))
    for _ in range(4):
        with pytest.raises(Exception, match="gone"):
            await answered(hall, pb.ComputeRequest(graph=graph_to_pb(graph)))


async def test_a_job_that_could_be_played_needs_a_place(hall: Hall) -> None:
    await known(hall, applied("sum", X))
    refused = hall.calls.refused
    with ExitStack() as places:
        for _ in range(PLACES):
            places.enter_context(hall.calls.jobs.taken("a", is_bounded=False))
        with pytest.raises(BusyError, match="are open"):
            await answered(hall, applied("sum", X))
    assert hall.calls.refused == refused + 1
    assert (await answered(hall, applied("sum", X)))[1]
    assert hall.calls.jobs.held == 0


async def test_a_server_that_shuts_down_plays_nothing(hall: Hall) -> None:
    await known(hall, applied("sum", X))
    hall.calls.close()
    with pytest.raises(ConnectionFailedError) as caught:
        await answered(hall, applied("sum", X))
    assert caught.value.reason is Reason.SHUTTING_DOWN


async def test_each_job_leaves_one_line(hall: Hall) -> None:
    with capture_logs() as logs:
        for _ in range(4):
            await answered(hall, applied("sum", X))
        with pytest.raises(ComputationError):
            await answered(hall, applied("power", np.array([1, 2]), np.array([1, -2])))
    lines: list[Any] = [line for line in logs if line["event"] == "job"]
    assert [line["outcome"] for line in lines] == ["done"] * 4 + ["failed"]
    assert len({line["id"] for line in lines}) == 5
    assert {(line["received_bytes"], line["sent_bytes"]) for line in lines[:4]} == {(80, 8)}


def test_a_message_that_no_job_needs() -> None:
    check_size(2 << 20)
    with pytest.raises(InvalidJobError, match="2,097,153 bytes"):
        check_size((2 << 20) + 1)
