"""Large graphs are planned on a thread, before their jobs begin."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from arraymill_proto.errors import ArrayNotFoundError, ShapeError
from arraymill_proto.graph import Graph, Input, Node, Operation, Resident
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.aside import LARGE_NODES
from arraymill_server.jobs.request import Keep, Request
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.plan.planner import plan_job
from arraymill_server.rpc.inline import InlineExchange

X = np.arange(10.0)
INPUT = Input(X.shape, X.dtype, None, X.tobytes())


def chain(first: Node, nodes: int = LARGE_NODES) -> Graph:
    """x + x + x + …"""
    later = [Operation("add", (index, 0)) for index in range(nodes - 1)]
    return Graph((first, *later), (nodes - 1,))


class Bench:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.arena = Arena((ctypes.c_ubyte * (1 << 20))())
        self.engine = SerialEngine(self.arena.space)
        self.residents = Residents(self.arena, 1 << 19, 60.0)
        admission = Admission(self.arena, 10)
        self.jobs = Jobs(self.arena, self.engine, admission, self.residents, slots=3)
        self.threads: list[bool] = []
        """For each planning: whether it was on the loop's own thread."""
        patch.setattr("arraymill_server.jobs.service.plan_job", partial(self._plan, plan_job))

    def _plan(self, plan: Any, *arguments: Any, **options: Any) -> Any:
        self.threads.append(threading.current_thread() is threading.main_thread())
        return plan(*arguments, **options)

    async def run(self, graph: Graph, keep: Keep | None = None) -> Any:
        exchange = InlineExchange(graph)
        report = await self.jobs.run(Request(graph, "a", keep), exchange)
        return report.arrays[0] if keep else np.frombuffer(exchange.results()[0].data)

    async def keep(self, array: np.ndarray[Any, Any], name: str) -> Any:
        whole = Graph((Input(array.shape, array.dtype, None, array.tobytes()), Operation("positive", (0,))), (1,))
        return await self.run(whole, Keep(name=name))


@pytest_asyncio.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    await bench.engine.close()


async def test_a_large_graph_is_planned_once_and_not_on_the_loop(bench: Bench) -> None:
    graph = chain(INPUT)
    async with bench.jobs.foreseen(graph, "a", keep=False):
        assert np.array_equal(await bench.run(graph), X * LARGE_NODES)
    assert bench.threads == [False]
    await bench.run(graph)
    assert bench.threads == [False, True], "nothing is foreseen any more"


async def test_a_small_one_is_planned_where_it_runs(bench: Bench) -> None:
    graph = chain(INPUT, LARGE_NODES - 1)
    async with bench.jobs.foreseen(graph, "a", keep=False):
        await bench.run(graph)
    assert bench.threads == [True]


async def test_a_plan_for_another_purpose_is_not_used(bench: Bench) -> None:
    graph = chain(INPUT)
    async with bench.jobs.foreseen(graph, "a", keep=False):
        kept = await bench.run(graph, Keep(name="y"))
    assert kept.name == "y"
    assert bench.threads == [False, True]


async def test_an_array_that_has_moved_is_read_where_it_lies_now(bench: Bench) -> None:
    await bench.keep(X, "x")
    graph = chain(Resident("x"))
    async with bench.jobs.foreseen(graph, "a", keep=False):
        bench.residents.delete("x")
        await bench.keep(np.ones(3), "other")
        await bench.keep(2 * X, "x")
        bench.threads.clear()
        assert np.array_equal(await bench.run(graph), 2 * X * LARGE_NODES)
    assert bench.threads == [True]


async def test_an_array_that_has_another_type_now(bench: Bench) -> None:
    await bench.keep(X, "x")
    graph = chain(Resident("x"))
    async with bench.jobs.foreseen(graph, "a", keep=False):
        bench.residents.delete("x")
        await bench.keep(np.ones(3), "x")
        assert np.array_equal(await bench.run(graph), np.full(3, LARGE_NODES))


async def test_an_array_that_has_gone(bench: Bench) -> None:
    await bench.keep(X, "x")
    graph = chain(Resident("x"))
    async with bench.jobs.foreseen(graph, "a", keep=False):
        bench.residents.delete("x")
        with pytest.raises(ArrayNotFoundError):
            await bench.run(graph)
    with pytest.raises(ArrayNotFoundError):
        async with bench.jobs.foreseen(graph, "a", keep=False):
            pytest.fail("there is nothing to be planned")


async def test_what_is_wrong_with_a_graph_is_told_at_once(bench: Bench) -> None:
    good = chain(INPUT)
    other = Input((3,), X.dtype, None, bytes(24))
    bad = Graph((*good.nodes, other, Operation("add", (0, LARGE_NODES))), (LARGE_NODES + 1,))
    with pytest.raises(ShapeError, match=f"node {LARGE_NODES + 1}"):
        async with bench.jobs.foreseen(bad, "a", keep=False):
            pytest.fail("it cannot be planned")
