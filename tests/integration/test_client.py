"""Both clients on a real server: NumPy's values, dtypes, shapes and memory orders, into whatever array."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from numpy.typing import NDArray
from servers import RunningServer
from strategies import Array as NumPyArray
from strategies import arrays

import arraymill as am
from arraymill_proto.limits import MAX_NODES

LARGE = np.random.default_rng(0).random((400, 300))
"""More than fits one message."""


@pytest_asyncio.fixture
async def mill(server: RunningServer) -> AsyncIterator[am.AsyncClient]:
    async with am.AsyncClient(server.address) as mill:
        yield mill


@pytest.fixture
def blocking(server: RunningServer) -> Iterator[am.Client]:
    with am.Client(server.address) as mill:
        yield mill


def assert_same(value: Any, expected: Any) -> None:
    """What a server answers is what NumPy does: type, dtype, shape, memory order, values; and it may be written."""
    assert type(value) is type(expected)
    assert (value.dtype, value.shape) == (expected.dtype.newbyteorder("="), expected.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    if isinstance(value, np.ndarray):
        assert value.flags.writeable
        assert value.flags.f_contiguous == expected.flags.f_contiguous
        assert value.flags.c_contiguous == expected.flags.c_contiguous


# ------------------------------------------------------------------ arrays of every kind


def test_any_array_comes_back_as_it_is(server: RunningServer) -> None:
    with am.Client(server.address) as mill:

        @settings(max_examples=60)
        @given(arrays())
        def check(array: NumPyArray) -> None:
            value = mill.compute(am.asarray(array))
            expected = array.astype(array.dtype.newbyteorder("="))
            assert (value.dtype, value.shape) == (expected.dtype, array.shape)
            assert type(value) is (np.ndarray if array.ndim else array.dtype.type)
            np.testing.assert_array_equal(value, expected)

        check()


LAYOUTS: dict[str, NDArray[Any]] = {
    "C": LARGE,
    "Fortran": np.asfortranarray(LARGE),
    "a transpose of three dimensions": LARGE.reshape(40, 10, 300).transpose(2, 0, 1),
    "strided": np.repeat(LARGE, 2, axis=1)[:, ::2],
    "backwards": LARGE[::-1, ::-1],
    "broadcast": np.broadcast_to(LARGE[0], LARGE.shape),
    "read-only": np.frombuffer(LARGE.tobytes()).reshape(LARGE.shape),
    "big-endian": LARGE.astype(">f8"),
    "unaligned": np.frombuffer(b"\0" + LARGE.tobytes(), offset=1).reshape(LARGE.shape),
    "one column": LARGE.reshape(-1, 1),
    "small integers": np.arange(200_000, dtype=np.int8).reshape(2, -1),
    "booleans": LARGE > 0.5,
    "complex numbers": LARGE + 1j,
    "half precision": LARGE.astype(np.float16),
}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_layout(mill: am.AsyncClient, layout: str) -> None:
    x = LAYOUTS[layout]
    assert_same(await mill.max(x, axis=0), x.max(axis=0))
    assert_same(await mill.count_nonzero(x), np.count_nonzero(x) + np.intp(0))
    value = await mill.compute(am.asarray(x) == x[0, 0])
    np.testing.assert_array_equal(value, x == x[0, 0])


@pytest.mark.parametrize("layout", ["C", "Fortran", "a transpose of three dimensions", "one column"])
async def test_results_have_the_memory_order_that_numpy_gives_them(mill: am.AsyncClient, layout: str) -> None:
    x = LAYOUTS[layout]
    value, expected = await mill.transform("sqrt", x), np.sqrt(x)
    assert_same(value, expected)
    assert value.strides == expected.strides


async def test_a_file_larger_than_a_frame_is_read_where_it_lies(mill: am.AsyncClient, tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(400_000.0).reshape(1000, 400))
    for mode in ("r", "r+", "c"):
        mapped: NDArray[Any] = np.load(path, mmap_mode=mode)
        assert_same(await mill.mean(mapped, axis=0), np.asarray(mapped).mean(axis=0))
        assert_same(await mill.sum(mapped[::3, ::-1]), np.asarray(mapped)[::3, ::-1].sum())
    result: NDArray[Any] = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", shape=(1000, 400), dtype=float)
    assert await mill.transform("negative", mapped, out=result) is result
    result.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), -mapped)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2), (1, 1, 1)])
async def test_empty_arrays_and_arrays_without_dimensions(mill: am.AsyncClient, shape: tuple[int, ...]) -> None:
    x = np.ones(shape)
    assert_same(await mill.sum(x), x.sum())
    assert_same(await mill.prod(x, keepdims=True), x.prod(keepdims=True))
    value, total = await mill.compute(am.asarray(x) + 1, am.asarray(LARGE).sum())
    assert_same(value, x + 1)
    assert_same(total, LARGE.sum())


async def test_nan_infinities_and_signed_zeros_survive(mill: am.AsyncClient) -> None:
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324])
    value = await mill.compute(am.asarray(x))
    assert value.tobytes() == x.tobytes()
    repeated = np.repeat(x, 20_000)
    assert (await mill.compute(am.asarray(repeated))).tobytes() == repeated.tobytes()


async def test_an_array_is_read_when_it_is_computed(mill: am.AsyncClient) -> None:
    x = LARGE.copy()
    total = am.asarray(x).sum()
    x[...] = 1
    assert await mill.compute(total) == x.size
    x[...] = 2
    assert await mill.compute(total) == 2 * x.size


# ------------------------------------------------------------------ out


@pytest.mark.parametrize("x", [LARGE, LARGE[:50, :40]], ids=["streamed", "in one message"])
@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "backwards", "a column of a table"])
async def test_any_array_can_be_filled(mill: am.AsyncClient, x: NDArray[Any], layout: str) -> None:
    outs: dict[str, NDArray[Any]] = {
        "C": np.zeros(x.shape),
        "Fortran": np.zeros(x.shape, order="F"),
        "strided": np.zeros((x.shape[0], 2 * x.shape[1]))[:, ::2],
        "backwards": np.zeros(x.shape)[::-1],
        "a column of a table": np.zeros(x.shape, [("a", "i4"), ("b", "f8")])["b"],
    }
    out = outs[layout]
    for same in (x, np.asfortranarray(x)):
        out[...] = 0
        assert await mill.transform("sqrt", same, out=out) is out
        np.testing.assert_array_equal(out, np.sqrt(x))


@pytest.mark.parametrize("size", [100, 100_000])
async def test_out_may_be_an_input(mill: am.AsyncClient, size: int) -> None:
    x = np.arange(float(size))
    expected = (x - x.mean())[::-1] * 2
    # Every element of the result needs another element of the array that it is written over.
    assert await mill.compute((am.asarray(x)[::-1] - am.asarray(x).mean()) * 2, out=x) is x
    np.testing.assert_allclose(x, expected)


async def test_several_outs(mill: am.AsyncClient) -> None:
    total, table = np.zeros(()), np.zeros(LARGE.shape)
    lazy = am.asarray(LARGE)
    results = await mill.compute(lazy.sum(), lazy * 2, lazy.mean(axis=0), out=[total, table, None])
    assert results[0] is total
    assert results[1] is table
    assert total == pytest.approx(LARGE.sum())
    np.testing.assert_array_equal(table, LARGE * 2)
    np.testing.assert_allclose(results[2], LARGE.mean(axis=0))


WRONG_OUTS: dict[str, tuple[Any, type[Exception], str]] = {
    "another shape": (np.zeros((300, 400)), am.ShapeError, r"\(300, 400\), the result has shape \(400, 300\)"),
    "another dtype": (np.zeros((400, 300), "f4"), am.DTypeError, "float32, the result has dtype float64"),
    "the other byte order": (np.zeros((400, 300), ">f8"), am.DTypeError, "results are not cast"),
    "read-only": (np.broadcast_to(0.0, (400, 300)), am.ParameterError, "read-only"),
    "masked": (np.ma.zeros((400, 300)), am.ParameterError, "masked"),
    "two for one": ([np.zeros((400, 300))] * 2, am.ParameterError, "out has 2 arrays for 1 expressions"),
    "none for one": ([], am.ParameterError, "out has 0 arrays for 1 expressions"),
    "a list of numbers": ([0.0], am.ParameterError, "out must be an ndarray"),
    "a number": (0.0, am.ParameterError, "out must be an ndarray"),
    "an Array": (am.asarray(LARGE), am.ParameterError, "out must be an ndarray"),
}


@pytest.mark.parametrize("name", WRONG_OUTS)
async def test_an_out_that_does_not_fit_is_refused_before_anything_is_sent(mill: am.AsyncClient, name: str) -> None:
    out, error, message = WRONG_OUTS[name]
    with pytest.raises(error, match=message):
        await mill.compute(am.asarray(LARGE) * 2, out=out)


# ------------------------------------------------------------------ expressions


def deep(depth: int) -> am.Array:
    array = am.asarray(np.zeros(3))
    for _ in range(depth):
        array = array + 1
    return array


async def test_deep_expressions(mill: am.AsyncClient) -> None:
    expression = deep(4000)
    assert (await mill.compute(expression)).tolist() == [4000] * 3
    del expression
    gc.collect()
    with pytest.raises(am.GraphError, match=f"the expression has {MAX_NODES + 1} nodes, a job at most {MAX_NODES}"):
        await mill.compute(deep(MAX_NODES - 1))


async def test_hundreds_of_results(mill: am.AsyncClient) -> None:
    lazy = am.asarray(np.arange(1000.0))
    results = await mill.compute(*(lazy * number for number in range(300)))
    assert [float(result[-1]) for result in results] == [999.0 * number for number in range(300)]


async def test_a_transform_of_two_results(mill: am.AsyncClient) -> None:
    for x in (LARGE, LARGE[:3]):
        for value, expected in zip(await mill.transform("modf", x * 9), np.modf(x * 9), strict=True):
            assert_same(value, expected)
    assert_same(await mill.transform("divmod", LARGE, 0.3, part=1), LARGE % 0.3)


async def test_handles(mill: am.AsyncClient) -> None:
    handle = await mill.put(LARGE, name="table")
    try:
        assert_same(await mill.get(handle), LARGE)
        np.testing.assert_array_equal(await mill.get(handle[::-7, 3]), LARGE[::-7, 3])
        assert_same(await mill.compute((handle - handle.mean()) / handle.std()), (LARGE - LARGE.mean()) / LARGE.std())
        assert repr(await mill.array("table")) == repr(handle)
        kept = await mill.put(handle * 2)
        np.testing.assert_array_equal(await mill.get(kept), LARGE * 2)
        assert {info.id for info in await mill.list()} == {handle.id, kept.id}
        await mill.delete(kept)
        with pytest.raises(am.ArrayExistsError, match="table"):
            await mill.put(LARGE, name="table")
    finally:
        await mill.delete("table")
    with pytest.raises(am.ArrayNotFoundError):
        await mill.get(handle)
    assert await mill.list() == ()


def test_the_same_without_await(blocking: am.Client) -> None:
    handle = blocking.put(LARGE)
    try:
        total, rows = blocking.compute(handle.sum(), am.asarray(LARGE).mean(axis=1))
        assert_same(total, LARGE.sum())
        assert_same(rows, LARGE.mean(axis=1))
        assert blocking.info().workers == 2
    finally:
        blocking.delete(handle)


@pytest.mark.parametrize("frame_bytes", [1, 1000, 64 << 10])
async def test_frames_of_any_size_give_the_same_bits(server: RunningServer, frame_bytes: int) -> None:
    x = LARGE[:20] if frame_bytes == 1 else LARGE
    async with am.AsyncClient(server.address) as one, am.AsyncClient(server.address, frame_bytes=frame_bytes) as other:
        expression = am.asarray(x[:, ::-1]).std(axis=0)
        assert (await one.compute(expression)).tobytes() == (await other.compute(expression)).tobytes()


async def test_progress(mill: am.AsyncClient) -> None:
    seen: list[am.Progress] = []
    await mill.sum(LARGE, progress=seen.append)
    assert seen[-1].received_bytes == LARGE.nbytes
    assert seen[-1].blocks_done == seen[-1].blocks
    assert seen[-1].times is not None
    assert all(progress.times is None for progress in seen[:-1])


async def test_many_clients_at_once(server: RunningServer) -> None:
    async def use(number: int) -> None:
        async with am.AsyncClient(server.address) as mill:
            assert await mill.sum(LARGE * number) == pytest.approx((LARGE * number).sum())

    await asyncio.gather(*(use(number) for number in range(20)))
