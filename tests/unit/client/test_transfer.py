"""Jobs on a Run stream: every way of asking and answering, and every way of going wrong."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from unit.client.fake_server import FakeServer, Session, fail

from arraymill import AsyncClient, Progress, _transfer, asarray
from arraymill_proto.errors import (
    ArraymillError,
    AxisError,
    BusyError,
    ConnectionFailedError,
    DeadlineError,
    InternalError,
    JobCancelledError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb

X: NDArray[np.float64] = np.linspace(-1.0, 1.0, 30_000).reshape(100, 300)

LAYOUTS: dict[str, NDArray[Any]] = {
    "C": X,
    "Fortran": np.asfortranarray(X),
    "strided": X[::2, ::-3],
    "big-endian": X.astype(">f8"),
    "read-only": np.broadcast_to(X[0], X.shape),
    "small integers": np.arange(7, dtype=np.int8),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("piece", [999, 1 << 20])
async def test_inputs_of_any_layout(server: FakeServer, streaming: AsyncClient, layout: str, piece: int) -> None:
    async def run(session: Session) -> None:
        inputs = await session.fetch_all(piece)
        await session.answer(server.values(session.graph, inputs))

    server.run = run
    x = LAYOUTS[layout]
    assert np.array_equal(await streaming.compute(asarray(x) + 1), x + 1)


async def test_a_range_in_another_order_and_again(server: FakeServer, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        first = await session.fetch(0, order=(1, 0))
        second = await session.fetch(0, piece=999)
        assert np.array_equal(first, second)
        await session.answer(server.values(session.graph, [second]))

    server.run = run
    assert await streaming.sum(X) == X.sum()


async def test_wants_are_answered_in_their_order(server: FakeServer, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        wants = [await session.want(0, offset, 2400) for offset in (0, 4800, 2400)]
        await session.receive(3 * 2400)
        assert [frame.want for frame in session.frames] == wants
        assert [frame.offset for frame in session.frames] == [0, 4800, 2400]
        await session.answer([np.array(1.0)])

    server.run = run
    assert await streaming.sum(X) == 1.0


@pytest.mark.parametrize(("client_bytes", "server_bytes", "expected"), [(1000, 1 << 20, 1000), (1 << 20, 512, 512)])
async def test_frames_are_as_small_as_either_side_wants(
    server: FakeServer, client_bytes: int, server_bytes: int, expected: int
) -> None:
    server.info.unary_bytes, server.info.frame_bytes = 0, server_bytes
    async with AsyncClient(server.address, frame_bytes=client_bytes) as mill:
        assert await mill.sum(X) == X.sum()
    lengths = [len(frame.data) for frame in server.sessions[0].frames]
    assert max(lengths) == expected
    assert sum(lengths) == X.nbytes


async def test_results_come_while_input_is_still_wanted(server: FakeServer, mill: AsyncClient) -> None:
    """Both sides write more than any window holds before they read."""
    x = np.ones(4 << 20)

    async def run(session: Session) -> None:
        await session.want(0, 0, x.nbytes)
        await session.header([x])
        await session.results([x])
        await session.receive(x.nbytes)
        await session.done()

    server.run = run
    assert np.array_equal(await mill.compute(asarray(x) * 1), x)


async def test_results_in_fortran_order_land_in_fortran_order(server: FakeServer, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        await session.header([X], order=(1, 0))
        await session.results([X], order=(1, 0), frame_bytes=1001)
        await session.done()

    server.run = run
    result = await streaming.compute(asarray(X))
    assert np.array_equal(result, X)
    assert result.flags.f_contiguous


async def test_an_out_that_is_an_input_as_well(server: FakeServer, streaming: AsyncClient) -> None:
    """Results may come before the input was read for the last time."""
    x = X.copy()

    async def run(session: Session) -> None:
        await session.header([X])
        await session.results([X * 0])
        (again,) = await session.fetch_all()
        assert np.array_equal(again, X[::-1])
        await session.done()

    server.run = run
    assert await streaming.compute(asarray(x)[::-1] * 0, out=x) is x
    assert not x.any()


async def test_a_job_that_is_done_stays_done(server: FakeServer, streaming: AsyncClient) -> None:
    """Whatever becomes of its stream then."""

    async def run(session: Session) -> None:
        await session.answer([np.array(5.0)])
        await fail(session.context, AxisError("too late"))

    server.run = run
    assert await streaming.sum(X) == 5


async def test_hundreds_of_jobs_at_once(streaming: AsyncClient) -> None:
    arrays = [np.full(1000, number, np.int64) for number in range(300)]
    totals = await asyncio.gather(*(streaming.sum(x) for x in arrays))
    assert totals == [1000 * number for number in range(300)]


async def test_progress(server: FakeServer, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        await session.accept(blocks=4)
        await session.send(progress=pb.Progress(received_bytes=5, blocks_done=2, blocks=4))
        await session.answer([np.array(1.0)])

    server.run = run
    seen: list[Progress] = []
    await streaming.sum(X, progress=seen.append)
    assert [(p.received_bytes, p.blocks_done, p.blocks) for p in seen] == [(0, 0, 4), (5, 2, 4), (7, 4, 4)]
    assert [p.times is None for p in seen] == [True, True, False]


async def test_messages_of_later_versions_are_ignored(server: FakeServer, streaming: AsyncClient) -> None:
    async def run(session: Session) -> None:
        await session.send()
        await session.answer([np.array(2.0)])

    server.run = run
    assert await streaming.sum(X) == 2.0


# ------------------------------------------------------------------ a server that misbehaves


async def garbage(session: Session) -> None:
    await session.context.write(bytes(range(256)))


async def nothing(session: Session) -> None:
    await session.accept()


async def done_without_results(session: Session) -> None:
    await session.done()


async def results_without_end(session: Session) -> None:
    await session.header([np.array(1.0)])
    await session.results([np.array(1.0)])


async def want_of_another_input(session: Session) -> None:
    await session.want(3, 0, 8)


async def want_beyond_the_end(session: Session) -> None:
    await session.want(0, X.nbytes, 1)


async def want_in_no_order(session: Session) -> None:
    await session.want(0, 0, 8, (0, 0))


async def too_many_wants(session: Session) -> None:
    while True:
        await session.want(0, 0, X.nbytes)


async def frame_before_the_header(session: Session) -> None:
    await session.frame(0, 0, bytes(8))


async def frame_beyond_the_end(session: Session) -> None:
    await session.header([np.array(1.0)])
    await session.frame(0, 1, bytes(8))


async def frame_of_another_output(session: Session) -> None:
    await session.header([np.array(1.0)])
    await session.frame(1, 0, bytes(8))


async def missing_frame(session: Session) -> None:
    await session.header([np.array(1.0)])
    await session.frame(0, 0, bytes(7))
    await session.done()


async def too_many_results(session: Session) -> None:
    await session.header([np.array(1.0), np.array(1.0)])


async def another_dtype(session: Session) -> None:
    await session.header([np.array(1, np.float32)])


async def another_shape(session: Session) -> None:
    await session.header([np.zeros(5)])


async def unknown_dtype(session: Session) -> None:
    await session.send(header=pb.ResultHeader(results=[pb.Result()]))


async def result_in_no_order(session: Session) -> None:
    await session.header([np.array(1.0)], order=(0,))


MISBEHAVIOUR: dict[Callable[[Session], Awaitable[None]], str] = {
    garbage: "cannot be read; is it an arraymill server",
    nothing: "ended the job without a result",
    done_without_results: "ended the job without a result",
    results_without_end: "ended the job without a result",
    want_of_another_input: "asked for input 3 of 1",
    want_beyond_the_end: "asked for bytes 240000 to 240001 of an input of 240000 bytes",
    want_in_no_order: r"an array of 2 dimensions in the order \(0, 0\)",
    too_many_wants: "asked for more than 20 ranges at once",
    frame_before_the_header: "sent output 0 of 0",
    frame_beyond_the_end: "sent bytes 1 to 9 of a result of 8 bytes",
    frame_of_another_output: "sent output 1 of 1",
    missing_frame: "sent 7 of 8 result bytes",
    too_many_results: "announced 2 results of 1",
    another_dtype: "computes float32 of shape .* where float64 of shape",
    another_shape: r"computes float64 of shape \(5,\) where float64 of shape \(\)",
    unknown_dtype: "announced a result that is no array",
    result_in_no_order: r"a result of 0 dimensions in the order \(0,\)",
}


@pytest.mark.parametrize("misbehave", MISBEHAVIOUR, ids=lambda run: run.__name__)
async def test_a_server_that_misbehaves(
    server: FakeServer,
    streaming: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    misbehave: Callable[[Session], Awaitable[None]],
) -> None:
    monkeypatch.setattr(_transfer, "MAX_WANTS", 20)

    async def run(session: Session) -> None:
        await misbehave(session)
        if misbehave not in (nothing, done_without_results, results_without_end, missing_frame):
            await asyncio.Event().wait()

    server.run = run
    with pytest.raises(InternalError, match=MISBEHAVIOUR[misbehave]):
        await streaming.sum(X)

    async def well(session: Session) -> None:
        await session.answer([np.array(3.0)])

    server.run = well
    assert await streaming.sum(X) == 3.0, "the connection must be unharmed"


async def test_a_kept_array_that_is_not_described(server: FakeServer, mill: AsyncClient) -> None:
    async def run(session: Session) -> None:
        await session.done()

    server.run = run
    with pytest.raises(InternalError, match="did not say what it keeps"):
        await mill.put(X)


@pytest.mark.parametrize("error", [AxisError("no such axis"), BusyError("come back"), JobCancelledError("stopped")])
@pytest.mark.parametrize("after_want", [False, True])
async def test_errors_of_the_server(
    server: FakeServer, streaming: AsyncClient, error: ArraymillError, after_want: bool
) -> None:
    async def run(session: Session) -> None:
        if after_want:
            await session.want(0, 0, X.nbytes)
        await fail(session.context, error)

    server.run = run
    with pytest.raises(type(error), match=error.message) as caught:
        await streaming.sum(X)
    assert caught.value.reason is error.reason


async def test_a_job_that_failed_holds_no_array(server: FakeServer, streaming: AsyncClient) -> None:
    """Not even until the next full collection of garbage, which may be far away."""

    async def run(session: Session) -> None:
        await session.want(0, 0, X.nbytes)
        await session.receive(X.nbytes)
        await fail(session.context, AxisError("no such axis"))

    server.run = run
    x = X.copy()
    known = weakref.ref(x)
    gc.disable()
    try:
        with suppress(AxisError):
            await streaming.sum(x)
        del x
        await asyncio.sleep(0)  # the loop holds what has woken this task
        assert known() is None
    finally:
        gc.enable()


async def test_a_server_that_goes_away_midway(server: FakeServer, mill: AsyncClient) -> None:
    async def run(session: Session) -> None:
        await session.accept()
        await session.want(0, 0, 8)
        await session.receive(8)
        asyncio.get_running_loop().call_soon(lambda: stopping.append(asyncio.create_task(server.stop())))
        await asyncio.Event().wait()

    stopping: list[asyncio.Task[None]] = []
    server.run = run
    with pytest.raises((ConnectionFailedError, JobCancelledError)):
        await mill.sum(X)
    await stopping[0]
    with pytest.raises(ConnectionFailedError, match="is the server running"):
        await mill.sum(X)


# ------------------------------------------------------------------ ends that the client chooses


async def hang(session: Session) -> None:
    await session.want(0, 0, 8)
    await session.receive(8)
    session.server.hangs.set()
    await asyncio.Event().wait()


async def test_cancelling_cancels_the_job(server: FakeServer, mill: AsyncClient) -> None:
    server.run = hang
    job = asyncio.create_task(mill.sum(X))
    await server.hangs.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_a_deadline_travels_and_ends_the_job(server: FakeServer, mill: AsyncClient) -> None:
    remaining: list[float] = []

    async def run(session: Session) -> None:
        remaining.append(session.context.time_remaining())
        await hang(session)

    server.run = run
    with pytest.raises(DeadlineError):
        await mill.sum(X, timeout=0.5)
    assert 0 < remaining[0] <= 0.5
    await asyncio.wait_for(server.cancelled.wait(), 5)


async def test_closing_ends_jobs_with_a_typed_error(server: FakeServer, mill: AsyncClient) -> None:
    server.run = hang
    job = asyncio.create_task(mill.sum(X))
    await server.hangs.wait()
    await mill.close()
    with pytest.raises(ConnectionFailedError, match="is closed"):
        await job


async def test_a_progress_function_that_raises_ends_the_job(server: FakeServer, streaming: AsyncClient) -> None:
    def progress(_: Progress) -> None:
        raise LookupError("from the caller")

    async def run(session: Session) -> None:
        await session.accept()
        await asyncio.Event().wait()

    server.run = run
    with pytest.raises(LookupError, match="from the caller"):
        await streaming.sum(X, progress=progress)
    await asyncio.wait_for(server.cancelled.wait(), 5)
