"""Small jobs on a real server: hundreds at once, played or not, and whatever may happen to them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from servers import RunningServer
from wire import channel_to

import arraymill as am
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb

COMPUTE = "/arraymill.v1.Arraymill/Compute"
ROUNDS = 4
"""From the third on, jobs are played."""


def arrays(count: int) -> list[NDArray[np.float64]]:
    random = np.random.default_rng(7)
    return [random.standard_normal(1000) * 10.0 ** random.integers(-8, 8, 1000) for _ in range(count)]


async def test_hundreds_at_once(server: RunningServer) -> None:
    async with am.AsyncClient(server.address) as mill:
        for _ in range(ROUNDS):
            many = arrays(300)
            sums, roots = await asyncio.gather(
                asyncio.gather(*map(mill.sum, many)),
                asyncio.gather(*(mill.transform("abs", x) for x in many[:50])),
            )
            assert sums == [x.sum() for x in many]
            for x, root in zip(many[:50], roots, strict=True):
                np.testing.assert_array_equal(root, np.abs(x))
                root[0] = 1.0  # an ordinary array


async def test_every_way_gives_the_same_bits(server: RunningServer) -> None:
    """Streamed to workers, in a call, in a pipeline; the first time and later."""
    names = ("sum", "mean", "std", "cumsum")
    operations = [Operation(name, (0,)) for name in names]
    async with am.AsyncClient(server.address) as mill, channel_to(server.address) as channel:
        make: Any = channel.unary_unary
        compute = make(COMPUTE)
        for x in arrays(5):
            inline = Input(x.shape, x.dtype, None, x.tobytes())
            request = pb.ComputeRequest(graph=graph_to_pb(Graph((inline, *operations), (1, 2, 3, 4))))
            lazy = am.asarray(x)
            expressions = lazy.sum(), lazy.mean(), lazy.std(), lazy.cumsum()
            handle = await mill.put(x)
            streamed = [handle.sum(), handle.mean(), handle.std(), handle.cumsum()]
            long_way = [np.asarray(value).tobytes() for value in await mill.compute(*streamed)]
            for _ in range(ROUNDS):
                in_call = pb.ComputeResponse.FromString(await compute(request.SerializeToString()))
                assert [result.data for result in in_call.results] == long_way
                in_pipeline = await mill.compute(*expressions)
                assert [np.asarray(value).tobytes() for value in in_pipeline] == long_way
            await mill.delete(handle)


async def test_what_values_make_impossible(server: RunningServer) -> None:
    async with am.AsyncClient(server.address) as mill:
        x, good, bad = np.array([2, 3]), np.array([1, 2]), np.array([1, -2])
        messages = set[str]()
        for _ in range(ROUNDS):
            np.testing.assert_array_equal(await mill.transform("power", x, good), x**good)
            with pytest.raises(am.ComputationError) as caught:
                await mill.transform("power", x, bad)
            messages.add(str(caught.value))
        assert len(messages) == 1


async def test_some_fail_and_some_are_cancelled_and_the_others_do_not_notice(server: RunningServer) -> None:
    x, bad = np.array([2, 3]), np.array([1, -2])
    async with am.AsyncClient(server.address) as mill:
        for _ in range(ROUNDS):
            jobs = [
                asyncio.ensure_future(mill.transform("power", x, bad if number % 5 == 0 else abs(bad)))
                for number in range(60)
            ]
            await asyncio.sleep(0)
            for job in jobs[3::7]:
                job.cancel()
            ends = await asyncio.gather(*jobs, return_exceptions=True)
            for number, end in enumerate(ends):
                if number % 7 == 3:
                    assert isinstance(end, asyncio.CancelledError)
                elif number % 5 == 0:
                    assert isinstance(end, am.ComputationError)
                else:
                    np.testing.assert_array_equal(end, x ** abs(bad))
        info = await mill.info()
        assert info.running_jobs == info.waiting_jobs == 0


async def test_progress_and_out(server: RunningServer) -> None:
    (x,) = arrays(1)
    async with am.AsyncClient(server.address) as mill:
        for _ in range(ROUNDS):
            told: list[am.Progress] = []
            out = np.zeros(1000)
            assert await mill.transform("abs", x, out=out, progress=told.append) is out
            np.testing.assert_array_equal(out, np.abs(x))
            (progress,) = told
            assert progress.received_bytes == x.nbytes
            assert progress.blocks == progress.blocks_done == 1
            assert progress.times is not None
            assert progress.times.sent_bytes == x.nbytes


async def test_a_client_may_have_a_deadline_for_each(server: RunningServer) -> None:
    async with am.AsyncClient(server.address) as mill:
        for _ in range(ROUNDS):
            assert await mill.sum(np.ones(10), timeout=20) == 10
        with pytest.raises(am.DeadlineError):
            await mill.sum(np.ones(10), timeout=1e-9)
        assert await mill.sum(np.ones(10)) == 10


def test_the_synchronous_client(server: RunningServer) -> None:
    with am.Client(server.address) as mill:
        for x in arrays(20):
            assert mill.sum(x) == x.sum()
