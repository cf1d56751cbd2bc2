"""Jobs of one message whose arrays lie in shared memory or go through it: NumPy's values, or a stream instead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from calls import ask, refusal
from memory_lane import RawSession, raw_session
from servers import RunningServer, running_server
from wire import channel_to

import arraymill as am
from arraymill import _memory_route
from arraymill._shared_lane import SharedLane
from arraymill._transfer import Transfer
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.memory import CHOSEN_JOB
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_proto.v1 import memory_pb2

X = np.resize(np.random.default_rng(3).random(10_007), (1500, 700))
"""8 MiB: two blocks."""


class Streams:
    """Counts the jobs that have one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        run = Transfer.run

        def counted(transfer: Transfer) -> Any:
            self.count += 1
            return run(transfer)

        monkeypatch.setattr(Transfer, "run", counted)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    return Streams(monkeypatch)


@pytest_asyncio.fixture
async def mill(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    async with am.AsyncClient(server.address, retry_for=0) as mill:
        yield mill


async def empty_of(mill: am.AsyncClient, array: Any) -> Any:
    """A copy in shared memory."""
    copy = await mill.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


# ------------------------------------------------------------------ values


async def test_arrays_wherever_they_lie(mill: am.AsyncClient, streams: Streams) -> None:
    placed, row = await empty_of(mill, X), np.linspace(-1, 1, 700)
    big_endian, fortran = X.astype(">f8"), np.asfortranarray(X)
    for array in (X, placed, big_endian, fortran, placed[::3, 5:], X[::-2]):
        np.testing.assert_allclose(await mill.sum(array), array.sum(), rtol=1e-12)
        expected = (array * row[: array.shape[1]]).max(axis=0)
        value = await mill.compute((am.asarray(array) * row[: array.shape[1]]).max(axis=0))
        np.testing.assert_array_equal(value, expected)
    both = await mill.compute((am.asarray(placed) - X).sum(), am.asarray(fortran).argmax(axis=1))
    assert both[0] == 0
    np.testing.assert_array_equal(both[1], X.argmax(axis=1))
    assert not streams.count
    del placed


async def test_results_that_are_left_in_place(mill: am.AsyncClient, streams: Streams) -> None:
    x, out = await empty_of(mill, X), await mill.empty(X.shape)
    assert await mill.transform("sqrt", x, out=out) is out
    np.testing.assert_array_equal(out, np.sqrt(X))
    total = await mill.empty(700)
    out[...] = 0
    results = await mill.compute(np.sqrt(am.asarray(X)), am.asarray(x).max(axis=0), out=[out, total])
    assert results[0] is out
    assert results[1] is total
    np.testing.assert_array_equal(out, np.sqrt(X))
    np.testing.assert_array_equal(total, X.max(axis=0))
    assert not streams.count
    del x, out, total, results


async def test_small_results_in_arrays_of_the_caller(mill: am.AsyncClient, streams: Streams) -> None:
    out = np.empty(700)
    assert await mill.compute(am.asarray(X).min(axis=0), out=out) is out
    np.testing.assert_array_equal(out, X.min(axis=0))
    assert not streams.count


async def test_what_has_a_stream(mill: am.AsyncClient, streams: Streams) -> None:
    told: list[am.Progress] = []
    assert np.array_equal(await mill.transform("sqrt", X), np.sqrt(X)), "a large result"
    assert await mill.compute(am.asarray(X).max(), progress=told.append) == X.max()
    assert len(told) > 1
    fortran = await empty_of(mill, np.asfortranarray(X).T)
    out = await mill.empty(X.shape)
    assert await mill.transform("sqrt", fortran.T, out=out) is out, "a result that would lie in another order"
    np.testing.assert_array_equal(out, np.sqrt(X))
    assert streams.count == 3
    del fortran, out


async def test_errors_are_those_of_a_stream(mill: am.AsyncClient, streams: Streams) -> None:
    """Those that only the values show."""
    whole = (X * 100).astype(int) - 50
    placed = await empty_of(mill, whole)
    for array in (whole, placed):
        errors: list[am.ArraymillError] = []
        for progress in (None, list[am.Progress]().append):
            with pytest.raises(am.ArraymillError) as caught:
                await mill.compute((am.asarray(array) ** am.asarray(array)).max(), progress=progress)
            errors.append(caught.value)
        assert (type(errors[0]), errors[0].reason) == (type(errors[1]), errors[1].reason)
        assert errors[0].message == errors[1].message
    assert streams.count == 2
    assert await mill.compute(am.asarray(placed).max()) == whole.max()
    del placed


async def test_many_at_a_time(mill: am.AsyncClient, streams: Streams) -> None:
    """More than there are workspaces in the memory through which they travel: the others have streams."""
    large = np.tile(X, (3, 1))
    placed = await empty_of(mill, large)
    jobs = [am.asarray(each)[number:].max() for number in range(10) for each in (large, placed)]
    values = await asyncio.gather(*map(mill.compute, jobs))
    assert values == [large[number:].max() for number in range(10) for _ in (0, 1)]
    assert 0 < streams.count < 10, "those whose arrays lie there need none"
    del placed


@pytest.mark.parametrize("progress", [None, list[am.Progress]().append], ids=["answer", "stream"])
async def test_what_was_cancelled_writes_no_more(progress: Any) -> None:
    with running_server("--log-level", "error") as server:
        async with am.AsyncClient(server.address, retry_for=0) as mill:
            x, out = await empty_of(mill, X[:500]), await mill.empty((500, 700))
            slow: Any = am.asarray(x)
            for _ in range(25):
                slow = np.tanh(np.power(slow, 1.01)) + 0.01
            times: list[float] = []
            for _ in range(3):
                begin = monotonic()
                await mill.compute(slow, out=out, progress=progress)
                times.append(monotonic() - begin)
            took = min(times)
            for part in (0.1, 0.4):
                running = asyncio.ensure_future(mill.compute(slow, out=out, progress=progress))
                await asyncio.sleep(part * took)
                running.cancel()
                await asyncio.wait([running])
                assert running.cancelled()
                out[...] = 7
                await asyncio.sleep(0.8)
                assert (out == 7).all()
            with pytest.raises(am.DeadlineError):
                await mill.compute(slow, out=out, timeout=0.3 * took, progress=progress)
            out[...] = 7
            await asyncio.sleep(0.8)
            assert (out == 7).all()
            del x, out


async def test_many_arrays_dropped_at_once(mill: am.AsyncClient) -> None:
    x = await empty_of(mill, X)
    session: Any = mill._caller._memory._session  # pyright: ignore[reportPrivateUsage]
    many = [await mill.empty(10) for _ in range(800)]
    many.clear()
    assert await mill.compute(am.asarray(x).max()) == X.max()
    assert session.is_open
    del x


# ------------------------------------------------------------------ memory that goes


@pytest.mark.parametrize("after", [0, 1])
async def test_a_session_that_is_cut_while_its_job_runs(
    mill: am.AsyncClient, streams: Streams, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(_memory_route, "PAUSE_SECONDS", 0.0)
    fill, left = SharedLane.fill, [after]

    def cutting(lane: SharedLane, message: memory_pb2.Fill) -> None:
        if not left[0]:
            session: Any = lane._session  # pyright: ignore[reportPrivateUsage]
            session._sock.shutdown(socket.SHUT_RDWR)
        left[0] -= 1
        fill(lane, message)

    monkeypatch.setattr(SharedLane, "fill", cutting)
    assert await mill.compute(am.asarray(X).max()) == X.max()
    assert streams.count == 1, "the job was sent on one in the end"
    assert await mill.compute(am.asarray(X).min()) == X.min()
    assert streams.count == 1, "there is another session"


# ------------------------------------------------------------------ what the server answers

MAXIMUM = Graph((Input(X.shape, X.dtype), Operation("max", (0,))), (1,))
JOB = CHOSEN_JOB + 5


def request(graph: Graph, **memory: Any) -> pb.ComputeRequest:
    return pb.ComputeRequest(graph=graph_to_pb(graph), memory=pb.SharedMemory(**memory))


async def path_of(mill: am.AsyncClient) -> str:
    info = await mill._caller.ready(lambda: None)  # pyright: ignore[reportPrivateUsage]
    return info.memory_paths[0]


async def serve_fills(session: RawSession, *heard: memory_pb2.Fill) -> None:
    """Put the elements of X where they are wanted."""
    data, left, waiting = X.tobytes(), X.nbytes, list(heard)
    while left:
        fill = waiting.pop() if waiting else (await session.heard()).fill
        assert fill.job == JOB
        session.staging[fill.address : fill.address + fill.length] = data[fill.offset : fill.offset + fill.length]
        left -= fill.length
        await session.say(filled=memory_pb2.Filled(job=fill.job, want=fill.want))


async def test_a_job_in_the_raw(server: RunningServer, mill: am.AsyncClient) -> None:
    async with raw_session(await path_of(mill)) as session, channel_to(server.address) as channel:
        asking = asyncio.ensure_future(
            ask(channel, "Compute", request(MAXIMUM, session=session.secret, job=JOB), pb.ComputeResponse)
        )
        await serve_fills(session)
        answer = await asking
        assert np.frombuffer(answer.results[0].data)[0] == X.max()
        assert (answer.needs_run, answer.memory_outputs) == (False, False)
        assert answer.times.received_bytes == X.nbytes


@pytest.mark.parametrize("secret", [b"", bytes(32)])
async def test_a_session_that_is_not_there(server: RunningServer, secret: bytes) -> None:
    async with channel_to(server.address) as channel:
        answer = await ask(channel, "Compute", request(MAXIMUM, session=secret, job=JOB), pb.ComputeResponse)
        assert answer == pb.ComputeResponse(needs_run=True)


@pytest.mark.parametrize("number", [0, 1, CHOSEN_JOB - 1])
async def test_numbers_that_are_the_servers(server: RunningServer, mill: am.AsyncClient, number: int) -> None:
    async with raw_session(await path_of(mill)) as session, channel_to(server.address) as channel:
        told = request(MAXIMUM, session=session.secret, job=number)
        failure = await refusal(channel, "Compute", told, pb.ComputeResponse)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_JOB")


async def test_a_number_that_another_job_has(server: RunningServer, mill: am.AsyncClient) -> None:
    async with raw_session(await path_of(mill)) as session, channel_to(server.address) as channel:
        told = request(MAXIMUM, session=session.secret, job=JOB)
        first = asyncio.ensure_future(ask(channel, "Compute", told, pb.ComputeResponse))
        fill = (await session.heard()).fill
        failure = await refusal(channel, "Compute", told, pb.ComputeResponse)
        assert failure.reason == "INVALID_JOB"
        await serve_fills(session, fill)
        assert np.frombuffer((await first).results[0].data)[0] == X.max(), "it does not notice"


async def test_large_results_without_a_place_need_a_stream(server: RunningServer, mill: am.AsyncClient) -> None:
    async with raw_session(await path_of(mill)) as session, channel_to(server.address) as channel:
        number, memory = await session.allocated(X.nbytes)
        memory[:] = bytes(len(memory))
        columns = pb.Placed(index=0, segment=number, strides=[8, 8 * len(X)])
        output = pb.Placed(index=0, segment=number)
        root = Graph((Input(X.shape, X.dtype, (1, 0)), Operation("sqrt", (0,))), (1,))
        told = request(root, session=session.secret, job=JOB, inputs=[columns], outputs=[output])
        answer = await ask(channel, "Compute", told, pb.ComputeResponse)
        assert answer == pb.ComputeResponse(needs_run=True), "they would lie in another order"
        failure = await refusal(
            channel, "Compute", request(root, session=session.secret, job=JOB, inputs=[columns]), pb.ComputeResponse
        )
        assert failure.reason == "RESULT_TOO_LARGE"


async def test_a_session_that_ends_while_something_is_wanted(server: RunningServer, mill: am.AsyncClient) -> None:
    async with channel_to(server.address) as channel:
        async with raw_session(await path_of(mill)) as session:
            told = request(MAXIMUM, session=session.secret, job=JOB)
            asking = asyncio.ensure_future(ask(channel, "Compute", told, pb.ComputeResponse))
            await session.heard()
        assert await asking == pb.ComputeResponse(needs_run=True)


async def test_workspaces_that_others_have(server: RunningServer, mill: am.AsyncClient) -> None:
    """Jobs hold theirs until their client answers; whoever finds none is sent away, and not kept."""
    async with raw_session(await path_of(mill)) as session, channel_to(server.address) as channel:
        held: list[asyncio.Future[Any]] = []
        for number in range(100):
            told = request(MAXIMUM, session=session.secret, job=JOB + number)
            asking = asyncio.ensure_future(ask(channel, "Compute", told, pb.ComputeResponse))
            hearing = asyncio.ensure_future(session.heard())
            await asyncio.wait([asking, hearing], return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                hearing.cancel()
                assert asking.result().needs_run
                break
            held.append(asking)
            await hearing
        assert 1 <= len(held) < 100
        for each in held:
            each.cancel()
    assert await mill.compute(am.asarray(X).max()) == X.max()


async def test_a_client_that_does_not_answer() -> None:
    with running_server("--stall", "1") as server:
        async with am.AsyncClient(server.address) as mill:
            path = await path_of(mill)
        async with raw_session(path) as session, channel_to(server.address) as channel:
            told = request(MAXIMUM, session=session.secret, job=JOB)
            failure = await refusal(channel, "Compute", told, pb.ComputeResponse)
            assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "input 0" in failure.text
            while not (last := await session.heard()).HasField("ended"):
                assert last.fill.job == JOB
            assert last.ended.job == JOB


async def test_a_client_that_always_has_something_to_do() -> None:
    """It answers one of two wants at a time, for several times the silence that it may keep."""
    with running_server("--stall", "1", workers=1) as server:
        async with am.AsyncClient(server.address) as mill:
            path = await path_of(mill)
        nbytes = 160 << 20
        graph = Graph((Input((nbytes >> 3,), np.dtype("f8")), Operation("max", (0,))), (1,))
        async with raw_session(path) as session, channel_to(server.address) as channel:
            told = request(graph, session=session.secret, job=JOB)
            asking = asyncio.ensure_future(ask(channel, "Compute", told, pb.ComputeResponse))
            asked, waiting = 0, list[memory_pb2.Fill]()
            while asked < nbytes or waiting:
                while asked < nbytes and len(waiting) < 2:
                    waiting.append((await session.heard()).fill)
                    asked += waiting[-1].length
                await asyncio.sleep(0.3)
                await session.say(filled=memory_pb2.Filled(job=JOB, want=waiting.pop(0).want))
            assert not (await asking).needs_run
