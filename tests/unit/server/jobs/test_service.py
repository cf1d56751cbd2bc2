"""Jobs from their graph to their report: what they hold on the way, and that they give all of it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ctypes import c_ubyte

import numpy as np
import pytest
from expressions import assert_same
from hypothesis import given
from hypothesis import strategies as st
from milling import Mill
from plans import floats, graph_of, operation
from profiles import examples
from samples import integers, samples
from strategies import Array, dtypes, slices

from arraymill_proto.errors import (
    ArrayExistsError,
    ArrayNotFoundError,
    ComputationError,
    ParameterError,
    Reason,
    ShapeError,
    TooLargeError,
)
from arraymill_proto.graph import Constant, Graph, Input, Operation, Order, Resident, Shape
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Engine
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.request import Keep, Request
from arraymill_server.testing.exchange import MemoryExchange
from arraymill_server.testing.held_engine import HeldEngine

X = np.arange(4096.0)
SQRT = graph_of(floats(4096), operation("sqrt", 0))
COPY = graph_of(floats(4096))
DOUBLE = graph_of(Resident("x"), Constant(2.0), operation("multiply", 0, 1))


def arena_of(size: int = 1 << 20) -> Arena:
    return Arena((c_ubyte * size)())


@asynccontextmanager
async def mill_of(engine: Engine | None = None, arena: Arena | None = None) -> AsyncGenerator[Mill]:
    """A mill that must end as it began: no lease, no pin, nothing claimed."""
    memory = arena or arena_of()
    mill = Mill(memory, engine or SerialEngine(memory.space), block_elements=512)
    yield mill
    assert repr(mill.jobs) == "<Jobs 0 running, 0 waiting>"
    for array in mill.residents.page()[0]:
        assert array.pins == 0
        mill.residents.delete(array.id)
    assert (memory.leases, mill.residents.used_bytes, mill.residents.budget_bytes) == ((), 0, memory.size // 4)


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_a_report_tells_what_was_done() -> None:
    async with mill_of() as mill:
        exchange = MemoryExchange([X], frame_bytes=1000)
        report = await mill.jobs.run(Request(SQRT, "me"), exchange)
        np.testing.assert_array_equal(exchange.results[0], np.sqrt(X))
    assert exchange.started is not None
    assert exchange.started.job_id == report.job_id
    assert (report.received_bytes, report.sent_bytes) == (X.nbytes, X.nbytes)
    assert (report.blocks, report.passes, report.arrays) == (8, 1, ())
    assert 0 < report.times.computed <= report.times.total
    assert report.times.queued <= report.times.total


async def test_a_result_that_is_kept_and_read_again() -> None:
    async with mill_of() as mill:
        report = await mill.keep(SQRT, [X], "x")
        assert len(report.arrays) == 1
        assert (report.arrays[0].name, report.arrays[0].type.shape, report.sent_bytes) == ("x", (4096,), 0)
        for name in ("x", report.arrays[0].id):
            graph = graph_of(Resident(name), Resident(name), operation("add", 0, 1))
            (result,) = await mill.compute(graph)
            np.testing.assert_array_equal(result, 2 * np.sqrt(X))


KEPT: dict[str, list[Operation]] = {
    "itself": [],
    "a reduction": [operation("sum", 0, axis=0)],
    "a scalar": [operation("argmax", 0)],
    "a flat scan": [operation("cumsum", 0)],
    "of two passes": [operation("max", 0, axis=0, keepdims=True), operation("subtract", 0, 1)],
    "a scan of scans": [operation("cumsum", 0, axis=0), operation("cumsum", 1, axis=0)],
}


@pytest.mark.parametrize("operations", KEPT.values(), ids=list(KEPT))
@pytest.mark.parametrize("shape", [(7, 300), (300, 7), (1, 1)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_every_kind_of_result_can_be_kept(operations: list[Operation], shape: Shape, order: Order) -> None:
    x = np.arange(float(np.prod(shape))).reshape(shape) % 13
    graph = graph_of(floats(*shape, order=order), *operations)
    async with mill_of() as mill:
        (expected,) = await mill.compute(graph, [x])
        report = await mill.keep(graph, [x], "x")
        assert len(report.arrays) == 1
        assert report.arrays[0].type.shape == expected.shape
        (kept,) = await mill.compute(graph_of(Resident("x")))
        assert_same(kept, expected)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
async def test_arrays_of_no_elements_can_be_kept(shape: Shape) -> None:
    async with mill_of() as mill:
        await mill.keep(graph_of(floats(*shape)), [np.empty(shape)], "x")
        results = await mill.compute(graph_of(Resident("x"), operation("sum", 0), outputs=(0, 1)))
        assert_same(results[0], np.empty(shape))
        assert_same(results[1], np.zeros(()))


@examples(60)
@given(data=st.data(), x=samples(integers, dtype=dtypes("if")))
def test_slices_of_resident_arrays(data: st.DataObject, x: Array) -> None:
    """Any slices of any order of axes, beside local arrays, by a job on a real arena."""
    pieces = tuple(data.draw(slices(length)) for length in x.shape)
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    indices = tuple(
        piece.start if piece.drop else [piece.start + k * piece.step for k in range(piece.length)] for piece in pieces
    )
    expected = x.astype(x.dtype.newbyteorder("="))
    for axis, index in reversed(list(enumerate(indices))):
        expected = np.take(expected, index, axis)

    async def compute() -> list[Array]:
        async with mill_of() as mill:
            await mill.keep(Graph((Input(x.shape, x.dtype, order),), (0,)), [x], "x")
            graph = graph_of(
                Resident("x", pieces), Input((), np.dtype(np.int8)), operation("add", 0, 1), outputs=(0, 2)
            )
            return await mill.compute(graph, [np.array(1, np.int8)])

    results = asyncio.run(compute())
    assert_same(results[0], expected)
    assert_same(results[1], np.asarray(expected + np.int8(1)), 0.25)


async def test_every_output_is_kept_once_and_a_name_is_for_one() -> None:
    async with mill_of() as mill:
        graph = graph_of(floats(4096), operation("sqrt", 0), operation("sum", 1), outputs=(2, 1, 2))
        report = await mill.keep(graph, [X])
        assert [array.type.shape for array in report.arrays] == [(), (4096,), ()]
        assert report.arrays[0] is report.arrays[2]
        assert len(mill.residents) == 2
        values = [(await mill.compute(graph_of(Resident(array.id)), []))[0] for array in report.arrays[:2]]
        np.testing.assert_allclose(values[0], np.sqrt(X).sum())
        np.testing.assert_array_equal(values[1], np.sqrt(X))
        with pytest.raises(ParameterError, match="a name is for one array; this job keeps 2"):
            await mill.keep(graph_of(floats(4096), outputs=(0, 0)), [X], "y")
        await mill.compute(graph_of(Resident(report.arrays[1].id), operation("sum", 0)), [])


async def test_what_is_kept_has_a_free_name() -> None:
    async with mill_of() as mill:
        await mill.keep(COPY, [X], "x")
        with pytest.raises(ArrayExistsError):
            await mill.keep(COPY, [X], "x")
        assert len(mill.residents) == 1


async def test_a_job_that_is_not_valid_holds_nothing() -> None:
    async with mill_of() as mill:
        await mill.keep(COPY, [X], "x")
        wrong = graph_of(Resident("x"), floats(3), operation("add", 0, 1))
        with pytest.raises(ShapeError, match="node 2, add"):
            await mill.compute(wrong, [X[:3]])
        with pytest.raises(ArrayNotFoundError, match="node 1"):
            await mill.compute(graph_of(Resident("x"), Resident("y"), operation("add", 0, 1)))


async def test_a_job_whose_results_are_too_many_for_its_call_is_refused_before_it_runs() -> None:
    async with mill_of() as mill:
        for limit, is_fine in ((X.nbytes, True), (X.nbytes - 1, False)):
            exchange = MemoryExchange([X])
            request = Request(SQRT, "me", result_limit=limit)
            if is_fine:
                await mill.jobs.run(request, exchange)
                continue
            with pytest.raises(TooLargeError, match="32,768 bytes, one answer holds 32,767") as caught:
                await mill.jobs.run(request, exchange)
            assert caught.value.reason is Reason.RESULT_TOO_LARGE
            assert exchange.started is None


async def test_a_job_that_fails_gives_everything_back() -> None:
    arena = arena_of()
    engine = HeldEngine(arena.space)
    async with mill_of(engine, arena) as mill:
        task = asyncio.ensure_future(mill.keep(SQRT, [X], "x"))
        await settle()
        engine.end_one(ComputationError("no"))
        await settle()
        assert not task.done(), "a worker still holds a task of the job"
        assert len(arena.leases) == 2
        engine.end_one()
        with pytest.raises(ComputationError):
            await task
        with pytest.raises(ArrayNotFoundError):
            mill.residents.get("x")


async def test_cancelling_a_job_that_waits_for_memory() -> None:
    arena = arena_of(1 << 17)
    engine = HeldEngine(arena.space)
    async with mill_of(engine, arena) as mill:
        big = graph_of(floats(8192), operation("mean", 0), operation("subtract", 0, 1))
        tasks = [asyncio.ensure_future(mill.compute(big, [np.ones(8192)])) for _ in range(2)]
        await settle()
        assert (mill.jobs.running, mill.jobs.waiting) == (1, 1)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert (mill.jobs.running, mill.jobs.waiting) == (1, 0)
        while not tasks[0].done():
            for _ in engine.held:
                engine.end_one()
            await settle()
        np.testing.assert_array_equal(tasks[0].result()[0], np.zeros(8192))


async def test_cancelling_a_job_that_runs_however_often() -> None:
    arena = arena_of()
    engine = HeldEngine(arena.space)
    async with mill_of(engine, arena) as mill:
        task = asyncio.ensure_future(mill.keep(SQRT, [X], "y"))
        await settle()
        for _ in range(3):
            task.cancel()
            await settle()
            assert not task.done()
            assert len(arena.leases) == 2
        engine.end_one()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_cancelling_a_job_before_it_begins() -> None:
    async with mill_of() as mill:
        task = asyncio.ensure_future(mill.compute(SQRT, [X]))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_array_that_is_deleted_while_a_job_reads_it() -> None:
    arena = arena_of()
    engine = HeldEngine(arena.space)
    async with mill_of(engine, arena) as mill:
        keeping = asyncio.ensure_future(mill.keep(COPY, [X], "x"))
        while not keeping.done():
            await settle()
            if engine.held:
                engine.end_one()
        reading = asyncio.ensure_future(mill.compute(DOUBLE))
        await settle()
        mill.residents.delete("x")
        while not reading.done():
            if engine.held:
                engine.end_one()
            await settle()
        np.testing.assert_array_equal(reading.result()[0], 2 * X)


async def test_inputs_that_do_not_fit_beside_everything_else_are_asked_for_again() -> None:
    count = 8192
    nodes = (floats(count), operation("mean", 0), operation("subtract", 0, 1), operation("cumsum", 2))
    wide = graph_of(*nodes, floats(2, 1), operation("add", 3, 4))
    for graph, times in ((graph_of(*nodes), 1), (wide, 2)):
        async with mill_of(arena=arena_of(1 << 17)) as mill:
            exchange = MemoryExchange([np.ones(count), np.ones((2, 1))][: 1 if graph is not wide else 2])
            report = await mill.jobs.run(Request(graph, "me"), exchange)
            assert report.received_bytes // (8 * count) == times
            assert not np.ptp(exchange.results[0])


async def test_a_job_that_can_never_fit_is_refused_with_the_numbers() -> None:
    scan = graph_of(floats(1 << 14), operation("cumsum", 0), floats(2, 1), operation("add", 1, 2))
    async with mill_of(arena=arena_of(1 << 17)) as mill:
        with pytest.raises(TooLargeError, match="arena has 128 KiB") as caught:
            await mill.compute(scan, [np.ones(1 << 14), np.ones((2, 1))])
        assert int(caught.value.details["needed_bytes"]) > 1 << 17


async def test_many_jobs_at_once_in_little_memory() -> None:
    async with mill_of(arena=arena_of(1 << 16)) as mill:
        jobs = [mill.compute(SQRT, [X + k], frame_bytes=512, seed=k) for k in range(20)]
        for k, (result,) in enumerate(await asyncio.gather(*jobs)):
            np.testing.assert_array_equal(result, np.sqrt(X + k))


async def test_the_request_says_how_long_an_array_is_kept() -> None:
    async with mill_of() as mill:
        report = await mill.jobs.run(Request(COPY, "me", Keep("x", ttl_seconds=5.0)), MemoryExchange([X]))
        assert len(report.arrays) == 1
        assert report.arrays[0].ttl == 5.0
