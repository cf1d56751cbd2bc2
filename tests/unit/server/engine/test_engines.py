"""What every engine does, on real tasks: the same bits, the same errors, the same bookkeeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import blake2b
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from pools import pool_of, shared_bytes

from arraymill_proto.errors import ComputationError, ConnectionFailedError, InternalError
from arraymill_server.arena.attach import RawBytes, attach
from arraymill_server.arena.memory import Memory
from arraymill_server.engine import worker
from arraymill_server.engine.base import Engine
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.ops.spec import ReduceSpec, Scalar
from arraymill_server.plan.program import (
    BlockTask,
    FinishTask,
    MergeTask,
    Program,
    ProgramRef,
    Reduce,
    Region,
    Step,
    Store,
    Task,
)

ENGINES = ["serial", "pool 1", "pool 2", "pool 3"]
SIZE = 1 << 20
PROGRAM, DATA, PARTIALS, OUTPUT = 0, 1 << 12, 1 << 18, 1 << 19
SUM = ReduceSpec("sum", (0,), "<f4", "<f4")


@asynccontextmanager
async def engine_of(kind: str, raw: RawBytes) -> AsyncGenerator[Engine, None]:
    name, _, workers = kind.partition(" ")
    if name == "serial":
        engine = SerialEngine(Memory(attach(raw)))
        await engine.start()
        yield engine
        await engine.close()
        return
    async with pool_of(int(workers), raw, main=worker.main) as pool:
        yield pool


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, raw: RawBytes) -> AsyncGenerator[Engine, None]:
    async with engine_of(request.param, raw) as engine:
        yield engine


@pytest.fixture
def raw() -> RawBytes:
    return shared_bytes(SIZE)


def load(raw: RawBytes, program: Program) -> ProgramRef:
    """Lay a program into the arena."""
    encoded = msgspec.msgpack.encode(program)
    attach(raw)[PROGRAM : PROGRAM + len(encoded)] = encoded
    return ProgramRef(blake2b(encoded, digest_size=16).digest(), PROGRAM, len(encoded))


def array(raw: RawBytes, offset: int, length: int, dtype: str = "<f4") -> NDArray[np.generic]:
    return np.frombuffer(attach(raw), dtype, length, offset)


def blocks(ref: ProgramRef, length: int, block: int, *, itemsize: int = 4, partial: bool = False) -> list[BlockTask]:
    """Cut a vector at DATA into tasks with an output of the same length, or with one partial each."""
    tasks: list[BlockTask] = []
    for number, start in enumerate(range(0, length, block)):
        size = min(block, length - start)
        out = Region(OUTPUT + start * itemsize, (size,), (itemsize,))
        if partial:
            out = Region(PARTIALS + 8 * number, (1,), (8,))
        operand = Region(DATA + start * itemsize, (size,), (itemsize,))
        tasks.append(BlockTask(ref, (start,), (size,), (operand,), ((out,),)))
    return tasks


async def run(engine: Engine, tasks: list[BlockTask]) -> None:
    assert all(seconds >= 0 for seconds in await asyncio.gather(*(engine.submit("job", task) for task in tasks)))


def cell(number: int) -> tuple[Region]:
    return (Region(PARTIALS + 8 * number, (1,), (8,)),)


async def summed(engine: Engine, raw: RawBytes, values: NDArray[np.float32], block: int) -> bytes:
    """Sum as the planner does: partials of blocks, merged in their order, finished. Return the bits."""
    array(raw, DATA, len(values))[:] = values
    ref = load(raw, Program(("<f4",), (), (), (Reduce(0, SUM),)))
    tasks = blocks(ref, len(values), block, partial=True)
    await run(engine, tasks)
    count = len(tasks)
    last = 0
    for (_, right), spare in zip(pairwise(range(count)), range(count, 2 * count), strict=False):
        await engine.submit("job", MergeTask(SUM, cell(last), cell(right), cell(spare)))
        last = spare
    await engine.submit("job", FinishTask(SUM, len(values), cell(last), Region(OUTPUT, (1,), (4,))))
    return array(raw, OUTPUT, 1).tobytes()


async def test_blocks_of_a_transform(engine: Engine, raw: RawBytes) -> None:
    values = np.linspace(0, 9, 1000, dtype=np.float32)
    array(raw, DATA, 1000)[:] = values
    program = Program(("<f4",), (), (Step("sqrt", (0,), "<f4"),), (Store(1, "<f4"),))
    await run(engine, blocks(load(raw, program), 1000, 64))
    np.testing.assert_array_equal(array(raw, OUTPUT, 1000), np.sqrt(values))


@pytest.mark.parametrize("block", [1, 3, 7, 100])
async def test_every_engine_gives_the_same_bits(raw: RawBytes, block: int) -> None:
    values = (np.random.default_rng(5).normal(size=100) * 10.0 ** np.arange(-5, 5).repeat(10)).astype(np.float32)
    bits: set[bytes] = set()
    for kind in ENGINES:
        async with engine_of(kind, raw) as engine:
            bits.add(await summed(engine, raw, values, block))
    assert len(bits) == 1
    np.testing.assert_allclose(np.frombuffer(bits.pop(), "<f4")[0], values.sum(dtype=np.float64), rtol=1e-6)


async def test_values_that_numpy_refuses(engine: Engine, raw: RawBytes) -> None:
    array(raw, DATA, 10, "<i8")[:] = 2
    constants = (Scalar.of(-1),)
    program = Program(("<i8",), constants, (Step("power", (0, -1), "<i8"),), (Store(1, "<i8"),))
    (task,) = blocks(load(raw, program), 10, 10, itemsize=8)
    with pytest.raises(ComputationError, match="negative"):
        await engine.submit("job", task)
    await summed(engine, raw, np.ones(9, np.float32), 3)


async def test_defects_are_internal_errors(engine: Engine, raw: RawBytes) -> None:
    outside = Region(2 * SIZE, (1,), (4,))
    tasks: list[Task] = [
        FinishTask(SUM, 1, cell(0), outside),
        MergeTask(ReduceSpec("no such operation", (0,), "<f4", "<f4"), cell(0), cell(1), cell(2)),
        BlockTask(ProgramRef(b"wrong digest", 0, 4), (0,), (1,), (), ()),
    ]
    results = await asyncio.gather(*(engine.submit("job", task) for task in tasks), return_exceptions=True)
    assert [type(error) for error in results] == [InternalError] * 3
    assert all("error id" in str(error) and "outside" not in str(error) for error in results)


async def test_wait_idle_leaves_nothing_to_be_written(engine: Engine, raw: RawBytes) -> None:
    array(raw, DATA, 1000)[:] = 1
    program = Program(("<f4",), (), (Step("sqrt", (0,), "<f4"),), (Store(1, "<f4"),))
    futures = [engine.submit("job", task) for task in blocks(load(raw, program), 1000, 10)]
    await engine.wait_idle("job")
    attach(raw)[OUTPUT : OUTPUT + 4000] = bytes(4000)
    assert engine.status.queued == 0
    assert any(future.cancelled() for future in futures)
    await summed(engine, raw, np.ones(9, np.float32), 3)
    assert not array(raw, OUTPUT, 1000)[1:].any()


async def test_a_closed_engine_takes_nothing(engine: Engine, raw: RawBytes) -> None:
    future = engine.submit("job", FinishTask(SUM, 1, cell(0), Region(OUTPUT, (1,), (4,))))
    await engine.close()
    assert future.done()
    with pytest.raises(ConnectionFailedError, match="shutting down"):
        engine.submit("job", FinishTask(SUM, 1, cell(0), Region(OUTPUT, (1,), (4,))))
    await engine.close()
