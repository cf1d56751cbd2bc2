"""Calls with graphs so large that they wait for the thread which reads them: they have their places by then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from desks import PLACES, Desk
from patience import turns

from arraymill_proto.errors import (
    ArrayNotFoundError,
    BusyError,
    ConnectionFailedError,
    JobKeyError,
    ShapeError,
)
from arraymill_proto.graph import Graph, Input, Node, Operation, Resident
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.aside import LARGE_NODES
from arraymill_server.jobs.life import State
from arraymill_server.rpc import submitted

X = np.arange(8.0)
INLINE = Input(X.shape, X.dtype, None, X.tobytes())


def chain(first: Node, nodes: int = LARGE_NODES) -> Graph:
    """x + x + x + …"""
    return Graph((first, *(Operation("add", (index, 0)) for index in range(nodes - 1))), (nodes - 1,))


LARGE = chain(INLINE)


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.bench.close()
    assert (desk.calls.jobs.held, desk.calls.submitted.held) == (0, 0)


WAYS: dict[str, Callable[[Desk, Graph], Awaitable[Any]]] = {
    "Compute": lambda desk, graph: desk.compute(graph),
    "Run": lambda desk, graph: desk.run(graph),
    "SubmitJob": lambda desk, graph: desk.submit(graph),
}


@pytest.mark.parametrize("way", WAYS)
async def test_who_waits_to_be_read_has_a_place_and_the_next_is_refused(
    desk: Desk, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 300 such calls of 828 KB to a server of 8 places all were taken in and lay in memory, before."""
    monkeypatch.setattr(desk.calls.submitted, "limit", PLACES)
    await desk.occupy()
    waiting = list[asyncio.Future[Any]]()
    for _ in range(2):
        waiting.append(asyncio.ensure_future(WAYS[way](desk, LARGE)))
        await turns(5)
    with pytest.raises(BusyError, match=r"2 of 3 calls that .* are open"):
        await WAYS[way](desk, LARGE)
    await desk.free()
    await desk.work_until(lambda: all(call.done() for call in waiting))
    for call in waiting:
        call.result()


@pytest.mark.parametrize("way", WAYS)
async def test_who_leaves_while_it_waits_to_be_read_leaves_its_place(desk: Desk, way: str) -> None:
    await desk.occupy()
    waiting = asyncio.ensure_future(WAYS[way](desk, LARGE))
    await turns(5)
    assert desk.calls.jobs.held + desk.calls.submitted.held == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert desk.calls.jobs.held + desk.calls.submitted.held == 0
    await desk.free()


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_refused_once_it_is_read_leaves_its_place(desk: Desk, way: str) -> None:
    other = Input((3,), X.dtype, None, bytes(24))
    bad = Graph((*LARGE.nodes, other, Operation("add", (0, LARGE_NODES))), (LARGE_NODES + 1,))
    with pytest.raises(ShapeError):
        await WAYS[way](desk, bad)
    assert desk.calls.jobs.held + desk.calls.submitted.held == 0


async def test_a_submitted_job_has_its_place_until_it_ends(desk: Desk) -> None:
    job = await desk.submit(LARGE)
    assert desk.calls.submitted.held == 1
    await desk.work_until(lambda: desk.bench.get(job.id).state is State.SUCCEEDED)
    assert desk.calls.submitted.held == 0


# ---------------------------------------------------------------------- while the server shuts down

NOBODYS = Resident("nobody")
READS = [Graph((NOBODYS,), (0,)), Graph((NOBODYS, NOBODYS), (0, 1))]
WORKS = [LARGE, Graph((NOBODYS, Operation("negative", (0,))), (1,)), Graph((NOBODYS, INLINE), (0, 1))]


@pytest.mark.parametrize("way", ["Compute", "Run"])
async def test_only_what_reads_is_taken_while_the_server_shuts_down(desk: Desk, way: str) -> None:
    desk.calls.close()
    for graph in READS:
        with pytest.raises(ArrayNotFoundError):
            await WAYS[way](desk, graph)
    for graph in WORKS:
        with pytest.raises(ConnectionFailedError, match="shutting down"):
            await WAYS[way](desk, graph)


async def test_to_keep_what_is_read_is_work(desk: Desk) -> None:
    desk.calls.close()
    with pytest.raises(ConnectionFailedError, match="shutting down"):
        await desk.run(READS[0], pb.Keep())


# ---------------------------------------------------------------------- keys


async def test_who_joins_a_job_waits_for_no_thought(desk: Desk) -> None:
    """It has been read and planned already."""
    id = (await desk.submit(LARGE, "k")).id
    await desk.occupy()
    async with asyncio.timeout(20):
        assert (await desk.submit(LARGE, "k")).id == id
        with pytest.raises(JobKeyError):
            await desk.submit(chain(INLINE, LARGE_NODES + 1), "k")
    await desk.free()


async def test_who_joins_a_job_needs_no_array_that_it_has_read(desk: Desk) -> None:
    read = await desk.done(Graph((INLINE, Operation("negative", (0,))), (1,)))
    array = desk.bench.get(read).results[0].id
    id = await desk.done(chain(Resident(array)), "k")
    desk.bench.residents.delete(array)
    assert (await desk.submit(chain(Resident(array)), "k")).id == id


async def test_who_joins_a_job_has_a_place_while_a_large_graph_is_compared(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,096 nodes held the event loop for 11 ms, and nobody was refused, before."""
    small = Graph((INLINE, Operation("negative", (0,))), (1,))
    large, other = await desk.done(LARGE, "large"), await desk.done(small, "small")
    real, seen = submitted.digest_of, list[tuple[bool, int]]()

    def digest(graph: pb.Graph) -> bytes:
        seen.append((threading.current_thread() is threading.main_thread(), desk.calls.submitted.held))
        return real(graph)

    monkeypatch.setattr(submitted, "digest_of", digest)
    assert (await desk.submit(LARGE, "large")).id == large
    assert (await desk.submit(small, "small")).id == other
    assert seen == [(False, 1), (True, 0)]
    monkeypatch.setattr(desk.calls.submitted, "limit", 0)
    assert (await desk.submit(small, "small")).id == other
    with pytest.raises(BusyError, match="calls that have submitted jobs are open"):
        await desk.submit(LARGE, "large")
    assert desk.calls.submitted.held == 0


async def test_of_two_at_a_time_with_one_key_one_makes_the_job(desk: Desk) -> None:
    """Both find the key free, and both are read."""
    await desk.occupy()
    both = [asyncio.ensure_future(desk.submit(LARGE, "k")) for _ in range(2)]
    await turns(5)
    assert desk.calls.submitted.held == 2
    await desk.free()
    first, second = await asyncio.gather(*both)
    assert first.id == second.id
    assert desk.calls.submitted.held == 1


async def test_who_has_too_many_jobs_is_refused_unread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.bench.board, "_max_per_client", 1)
    await desk.submit(LARGE)
    await desk.occupy()
    async with asyncio.timeout(20):
        with pytest.raises(BusyError, match="--max-client-jobs 1"):
            await desk.submit(LARGE)
    await desk.free()
