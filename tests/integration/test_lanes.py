"""Every transfer over every lane: the same bits, whichever way they went."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from bulk_lane import count_traffic, wait_for_bulk
from memory_lane import MemoryTraffic, inputs_lying_there, lying_there
from numpy.typing import NDArray
from patience import until
from servers import RunningServer

import arraymill as am
from arraymill import _bulk, _caller, _shared_job
from arraymill_server.app.server import App
from arraymill_server.config import ServerConfig
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.quantities import MIB
from arraymill_server.rpc import lanes
from arraymill_server.rpc.bulk import BulkConnection
from arraymill_server.rpc.lanes import StreamExchange

Values: TypeAlias = Sequence[NDArray[Any]]
Case: TypeAlias = Callable[[am.AsyncClient, Path], Awaitable[Values]]

BLOCK_ELEMENTS: Final = 1500
"""Small blocks: small arrays consist of many."""

RNG: Final = np.random.default_rng(11)
X: Final = RNG.random((70, 110))


class ServerTraffic:
    """Bytes of results that a server of this process has sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_bulk = self.in_frames = 0
        sent, send_result = StreamExchange.sent, StreamExchange._send_result  # pyright: ignore[reportPrivateUsage]

        def counting_sent(exchange: StreamExchange, outgoing: Outgoing, token: int) -> None:
            self.in_bulk += len(outgoing.data)
            sent(exchange, outgoing, token)

        async def counting_send_result(exchange: StreamExchange, outgoing: Outgoing, token: int) -> None:
            self.in_frames += len(outgoing.data)
            await send_result(exchange, outgoing, token)

        monkeypatch.setattr(StreamExchange, "sent", counting_sent)
        monkeypatch.setattr(StreamExchange, "_send_result", counting_send_result)


def send_all_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let results of any size wait in a server of this process until the client has come, where it said it would."""
    monkeypatch.setattr(_caller, "SMALL_BYTES", -1)
    monkeypatch.setattr(lanes, "BULK_RANGE_BYTES", 1)
    send, opened = StreamExchange.send, StreamExchange.bulk_opened
    waiting: dict[StreamExchange, list[tuple[Outgoing, int]]] = {}

    def patient_send(self: StreamExchange, outgoing: Outgoing, token: int) -> None:
        if self._secret is not None and self._bulk is None:  # pyright: ignore[reportPrivateUsage]
            waiting.setdefault(self, []).append((outgoing, token))
        else:
            send(self, outgoing, token)

    def flushing_opened(self: StreamExchange, connection: BulkConnection) -> None:
        opened(self, connection)
        for outgoing, token in waiting.pop(self, []):
            send(self, outgoing, token)

    monkeypatch.setattr(StreamExchange, "send", patient_send)
    monkeypatch.setattr(StreamExchange, "bulk_opened", flushing_opened)


@asynccontextmanager
async def small_blocks(arena_bytes: int = 64 * MIB, block_elements: int | None = BLOCK_ELEMENTS) -> AsyncGenerator[str]:
    """A server in this process; gives its address. All of its memory is free in the end."""
    config = ServerConfig(
        listen=("127.0.0.1:0",),
        workers=2,
        arena_bytes=arena_bytes,
        shared_memory_bytes=256 * MIB,
        resident_budget_bytes=arena_bytes - 48 * MIB,
        worker_memory_bytes=256 * MIB,
    )
    app = App(config, lambda: pytest.fail("the server says that it has a defect"), block_elements=block_elements)
    await app.start()
    try:
        yield app.addresses[0]
        await until(lambda: app.arena.free == app.arena.size)
    finally:
        assert await app.stop(10, asyncio.Event())


# ------------------------------------------------------------------ what travels


def laid_out(values: NDArray[Any]) -> list[NDArray[Any]]:
    """The same values in memory in every way."""
    wide = np.zeros((2 * values.shape[0], 3 * values.shape[1]), values.dtype)
    wide[::2, ::3] = values
    return [
        values,
        np.asfortranarray(values),
        wide[::2, ::3],
        values[::-1, ::-1],
        np.broadcast_to(values[0], (40, 110)),
    ]


async def layouts(mill: am.AsyncClient, _: Path) -> Values:
    arrays = laid_out(X)
    return [await mill.compute(am.asarray(x) + 1) for x in arrays] + [await mill.sum(x, axis=0) for x in arrays]


def layouts_known() -> Values:
    return [x + 1 for x in laid_out(X)]


DTYPES = ["bool", "i1", ">i2", "<u4", ">i8", "f2", ">f4", "<f8", ">f8", "c8", ">c16"]


async def dtypes(mill: am.AsyncClient, _: Path) -> Values:
    arrays = [(X * 100).astype(dtype) for dtype in DTYPES]
    return await asyncio.gather(*(mill.transform("add", x, x) for x in arrays))


def dtypes_known() -> Values:
    return [x + x for x in ((X * 100).astype(dtype) for dtype in DTYPES)]


async def several_inputs(mill: am.AsyncClient, _: Path) -> Values:
    a, b, c = am.asarray(X), am.asarray(X[::-1]), am.asarray(np.asfortranarray(X * 3).astype(">f4"))
    return list(await mill.compute(np.where(a > b, a, c), a + b[0] * c, (a * c).sum(axis=1), b))


def several_inputs_known() -> Values:
    a, b, c = X, X[::-1], (X * 3).astype("f4")
    return [np.where(a > b, a, c), a + b[0] * c]


async def into_out(mill: am.AsyncClient, folder: Path) -> Values:
    """The caller's arrays, one of which is the input itself, another a file."""
    x = X.copy()
    mapped = np.lib.format.open_memmap(folder / "out.npy", "w+", X.dtype, X.shape)
    outs = [np.zeros_like(X), np.zeros_like(X, order="F"), np.zeros((140, 220))[::2, ::-2], mapped, x]
    for out in outs:
        assert await mill.compute(np.sqrt(am.asarray(x)), out=out) is out
    mapped.flush()
    return [np.array(out) for out in outs]


def into_out_known() -> Values:
    return [np.sqrt(X)] * 5


async def scans(mill: am.AsyncClient, _: Path) -> Values:
    return [await mill.transform("cumsum", x, axis=axis) for x in (X, np.asfortranarray(X)) for axis in (0, 1, None)]


async def two_passes(mill: am.AsyncClient, _: Path) -> Values:
    x = am.asarray(X)
    return list(await mill.compute((x - x.mean()) / x.std(), x - x.min(axis=0)))


async def kept(mill: am.AsyncClient, _: Path) -> Values:
    """put, get, slices, expressions over what is kept, kept results."""
    handle, fortran = await mill.put(X), await mill.put(np.asfortranarray(X))
    result = await mill.put(np.sqrt(handle) * 2)
    values = [
        await mill.get(handle),
        await mill.get(fortran[5:60:3, ::-2]),
        await mill.get(handle[7]),
        await mill.get(result),
        await mill.compute(handle + am.asarray(X)),
    ]
    for each in (handle, fortran, result):
        await mill.delete(each)
    return values


def kept_known() -> Values:
    return [X, X[5:60:3, ::-2], X[7], np.sqrt(X) * 2, X + X]


EMPTY: Final[Values] = [np.zeros((0, 5)), np.zeros((3, 0), ">i4"), np.array(5, ">i2"), np.zeros((1, 1, 1))]


async def empty_and_0d(mill: am.AsyncClient, _: Path) -> Values:
    plus = [await mill.transform("add", x, 1) for x in EMPTY]
    return [*plus, *[np.asarray(await mill.sum(x)) for x in EMPTY]]


def empty_and_0d_known() -> Values:
    return [np.asarray(x + 1) for x in EMPTY] + [np.asarray(np.sum(x)) for x in EMPTY]


async def many_at_once(mill: am.AsyncClient, _: Path) -> Values:
    async def one(number: int) -> NDArray[Any]:
        values: NDArray[Any] = await mill.compute(am.asarray(X[: 1 + number]) * number)
        return values

    return await asyncio.gather(*map(one, range(60)))


def many_at_once_known() -> Values:
    return [X[: 1 + number] * number for number in range(60)]


CASES: dict[Case, Callable[[], Values]] = {
    layouts: layouts_known,
    dtypes: dtypes_known,
    several_inputs: several_inputs_known,
    into_out: into_out_known,
    scans: list,
    two_passes: list,
    kept: kept_known,
    empty_and_0d: empty_and_0d_known,
    many_at_once: many_at_once_known,
}
"""What is computed, and NumPy's values of those that have to be the same bit by bit; there may be more."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_same_bits_on_every_lane(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Values] = []
    for lane in ("bulk", "frames"):
        with monkeypatch.context() as patch:
            traffic, of_server = count_traffic(patch), ServerTraffic(patch)
            wait_for_bulk(patch)
            send_all_in_bulk(patch)
            patch.setattr(_bulk, "PAUSE_SECONDS", 0.0)
            options: dict[str, Any] = {"bulk": lane == "bulk", "shared": False, "retry_for": 0}
            async with small_blocks() as address, am.AsyncClient(address, **options) as mill:
                found.append(await case(mill, tmp_path))
        used = (traffic.sent_in_bulk + of_server.in_bulk > 0, traffic.sent_in_frames + of_server.in_frames > 0)
        assert used[0] == (lane == "bulk")
        if case is not empty_and_0d:  # a job without input may be done before its connection stands
            assert used[1] == (lane == "frames")
    found += [await in_memory(case, tmp_path, monkeypatch, is_there=is_there) for is_there in (False, True)]
    found += [await in_answers(case, tmp_path, monkeypatch, is_there=is_there) for is_there in (False, True)]
    by_bulk = found[0]
    for others in found[1:]:
        for one, other in zip(by_bulk, others, strict=True):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    for one, known in zip(by_bulk, CASES[case](), strict=False):
        assert (one.dtype, one.shape) == (known.dtype, known.shape)
        assert one.tobytes() == np.asarray(known).tobytes()


async def in_memory(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool) -> Values:
    """Compute on the same-host lane.

    Args:
        case: What to compute.
        folder: For its files.
        monkeypatch: As of the test.
        is_there: Let inputs, and arrays for results, lie in shared memory; else they travel through it.
    """
    with monkeypatch.context() as patch:
        traffic, of_server, of_memory = count_traffic(patch), ServerTraffic(patch), MemoryTraffic(patch)
        patch.setattr(_caller, "SMALL_BYTES", -1)
        patch.setattr(_caller, "LEAST_BYTES", 0)
        patch.setattr(_shared_job, "ANSWER_BYTES", -1)
        async with small_blocks() as address, am.AsyncClient(address, bulk=False, retry_for=0) as mill:
            if is_there:
                await lying_there(mill, patch)
            found = [np.array(value) for value in await case(mill, folder)]
            gc.collect()  # errors of calls that have ended hold arrays in circles
    if case is not kept:  # what is kept has its workspace in the arena
        assert traffic.sent_in_frames == of_server.in_frames == traffic.in_bulk == 0
        assert of_memory.taken + of_memory.placed_results > 0
        assert (of_memory.placed > 0) == is_there
        assert of_memory.filled > 0 or is_there
    return found


async def in_answers(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool) -> Values:
    """Compute on the same-host lane without streams: results come in answers.

    Args:
        case: What to compute.
        folder: For its files.
        monkeypatch: As of the test.
        is_there: Let inputs lie in shared memory; else they travel through it.
    """
    with monkeypatch.context() as patch:
        traffic, of_server, of_memory = count_traffic(patch), ServerTraffic(patch), MemoryTraffic(patch)
        patch.setattr(_caller, "SMALL_BYTES", -1)
        patch.setattr(_caller, "LEAST_BYTES", 0)
        patch.setattr(_shared_job, "ANSWER_BYTES", 1 << 20)
        patch.setattr(_shared_job, "INLINE_BYTES", -1)
        async with small_blocks() as address, am.AsyncClient(address, bulk=False, retry_for=0) as mill:
            if is_there:
                await inputs_lying_there(mill, patch)
            found = [np.array(value) for value in await case(mill, folder)]
            gc.collect()  # errors of calls that have ended hold arrays in circles
    if case is not kept:  # what is kept has a stream
        assert traffic.sent_in_frames == of_server.in_frames == traffic.in_bulk == of_memory.taken == 0
        assert (of_memory.placed > 0) == is_there
        assert of_memory.filled > 0 or is_there
    return found


async def test_what_the_arena_cannot_hold_is_sent_for_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """As large blocks as the product's, an input larger than the arena, results of the same size."""
    x = np.resize(RNG.random(10_007), (1100, 8000))
    traffic, of_server = count_traffic(monkeypatch), ServerTraffic(monkeypatch)
    wait_for_bulk(monkeypatch)
    send_all_in_bulk(monkeypatch)
    async with small_blocks(48 * MIB, None) as address, am.AsyncClient(address, retry_for=0, shared=False) as mill:
        lazy = am.asarray(x)
        result = await mill.compute((lazy - lazy.mean()) / lazy.std())
    np.testing.assert_allclose(result, (x - x.mean()) / x.std(), rtol=1e-12, atol=1e-12)
    assert traffic.sent_in_bulk == 2 * x.nbytes, "mean and std are one pass, what is made of them is another"
    assert traffic.received_in_bulk == of_server.in_bulk == x.nbytes
    assert traffic.sent_in_frames == of_server.in_frames == 0


# ------------------------------------------------------------------ as it comes, without any force


async def test_large_arrays_use_the_lane_of_a_server(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = count_traffic(monkeypatch)
    x = np.resize(RNG.random(10_007), (1300, 2000))
    async with am.AsyncClient(server.address, shared=False) as mill:
        total, roots, rows = await asyncio.gather(
            mill.sum(x), mill.transform("sqrt", np.asfortranarray(x)), mill.sum(x, axis=1)
        )
        np.testing.assert_allclose([total, *rows], [x.sum(), *x.sum(axis=1)])
        assert np.array_equal(roots, np.sqrt(x))
        handle = await mill.put(x)
        assert np.array_equal(await mill.get(handle[::-1]), x[::-1])
        await mill.delete(handle)
        assert traffic.sent_in_bulk > x.nbytes // 2, "of four times as much"
        assert traffic.received_in_bulk > 0
        before = traffic.sent_in_bulk
        np.testing.assert_allclose(await mill.sum(x[:500]), x[:500].sum(), err_msg="not large enough for the lane")
        assert traffic.sent_in_bulk == before


async def test_a_client_that_wants_none(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = count_traffic(monkeypatch)
    x = np.resize(RNG.random(10_007), (1300, 2000))
    async with am.AsyncClient(server.address, bulk=False, shared=False) as mill:
        np.testing.assert_allclose(await mill.sum(x), x.sum())
    assert (traffic.in_bulk, traffic.sent_in_frames) == (0, x.nbytes)
