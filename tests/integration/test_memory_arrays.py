"""Arrays in shared memory, of every layout, as inputs and for results: the values of NumPy, with 1, 2 and 3 workers."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_lane import MemoryTraffic
from profiles import examples
from servers import RunningServer
from strategies import dtypes

import arraymill as am
from arraymill import _caller, _shared_job, _transfer
from arraymill_proto.dtypes import DType
from arraymill_proto.errors import ComputationError
from arraymill_server.app.server import App
from arraymill_server.config import ServerConfig
from arraymill_server.quantities import MIB

SIDE = 8

SLICES = [slice(None), slice(1, 7), slice(None, None, 3), slice(5, None, -2), slice(3, 4), slice(2, 2)]


class Sample:
    """A part of an array of 8 × 8 × 8, in some layout and dtype."""

    def __init__(self, data: st.DataObject, whole: Any) -> None:
        axes = data.draw(st.permutations(range(3)), label="axes")
        self.slices = tuple(data.draw(st.sampled_from(SLICES), label="slice") for _ in range(3))
        self.of_shared = whole.transpose(axes)[self.slices]
        self.values = self.of_shared.copy()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_parts_of_shared_arrays(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = MemoryTraffic(monkeypatch)
    monkeypatch.setattr(_caller, "SMALL_BYTES", -1)
    monkeypatch.setattr(_caller, "LEAST_BYTES", 0)
    monkeypatch.setattr(_shared_job, "INLINE_BYTES", -1)
    config = ServerConfig(
        listen=("127.0.0.1:0",),
        workers=workers,
        arena_bytes=64 * MIB,
        shared_memory_bytes=128 * MIB,
        resident_budget_bytes=16 * MIB,
        worker_memory_bytes=256 * MIB,
    )
    with asyncio.Runner() as runner:
        app = App(config, lambda: pytest.fail("the server says that it has a defect"), block_elements=50)
        runner.run(app.start())
        mill = am.AsyncClient(app.addresses[0], retry_for=0)
        shared: list[Any] = [runner.run(mill.empty(1 << 20, "u1"))]
        try:

            @examples(100)
            @given(st.data(), dtypes("iufc"))
            def check(data: st.DataObject, dtype: DType) -> None:
                (memory,) = shared
                whole = memory[5 : 5 + SIDE**3 * dtype.itemsize].view(dtype).reshape(SIDE, SIDE, SIDE)
                whole[...] = np.arange(SIDE**3).reshape(whole.shape)
                runner.run(compare(mill, data, whole, memory[1 << 18 :]))

            check()
        finally:
            runner.run(mill.close())
            shared.clear()
            gc.collect()
            assert runner.run(app.stop(10, asyncio.Event()))
    assert traffic.placed > 0
    assert traffic.placed_results > 0
    assert traffic.filled > 0


async def compare(mill: am.AsyncClient, data: st.DataObject, whole: Any, rest: Any) -> None:
    """Compute on a part; leave the result in new, in shared, or in the very memory of the inputs."""
    sample = Sample(data, whole)
    x, known = sample.of_shared, sample.values + sample.values
    sums = sample.values.sum(axis=0)
    np.testing.assert_allclose(await mill.compute(am.asarray(x).sum(axis=0)), sums, rtol=4e-3)  # of float16
    place = data.draw(st.sampled_from(["new", "shared", "strided", "the input", "beside the input"]), label="out")
    if place in {"the input", "beside the input"} and not x.dtype.isnative:
        place = "new"
    out: Any = None
    if place == "shared":
        out = rest[: known.nbytes].view(known.dtype).reshape(known.shape)
    elif place == "strided":
        out = rest[: 2 * known.nbytes].view(known.dtype).reshape((*known.shape[:-1], 2 * known.shape[-1]))[..., ::2]
    elif place == "the input":
        out = x
    elif place == "beside the input":
        out = whole.reshape(-1)[: known.size].reshape(known.shape)
    result = await mill.compute(am.asarray(x) + am.asarray(x), out=out)
    assert out is None or result is out
    np.testing.assert_array_equal(result, known)


async def test_nobody_waits_for_a_job_that_the_server_has_ended(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker writes to its results any more when the server says that it has failed."""
    monkeypatch.setattr(_transfer, "END_SECONDS", 3600.0)
    async with am.AsyncClient(server.address, retry_for=0) as mill:
        x, out = await mill.empty(1 << 18, np.int64), await mill.empty(1 << 18, np.int64)
        assert am.is_shared(out)
        x[...] = -1
        with pytest.raises(ComputationError, match="negative"):
            async with asyncio.timeout(60):
                await mill.transform("power", x, x, out=out, progress=lambda _: None)  # reports come on a stream
