"""Advice of a client: measured once, one at a time, within its time, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import numpy as np
import pytest
from unit.client.fake_server import FakeServer, Session, honest

from arraymill import Advice, AsyncClient, Handle, LinkFigures, _advise, _advise_link, _advise_sample, asarray
from arraymill._advise_link import Probe
from arraymill_proto.errors import BusyError, ComputationError, DeadlineError, ParameterError
from arraymill_proto.graph import ArrayType
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.linspace(1.0, 2.0, 30_000).reshape(100, 300)
COMPUTED = 0.5
"""Seconds that workers take for everything."""


@pytest.fixture(autouse=True)
def few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure what takes no time."""
    monkeypatch.setattr(_advise_link, "PROBES", (80_000, 100_000))
    monkeypatch.setattr(_advise_link, "ROUND_TRIPS", 2)
    monkeypatch.setattr(_advise_sample, "FIRST_BYTES", 1 << 16)
    monkeypatch.setattr(_advise, "FIRST_BYTES", 1 << 16)
    monkeypatch.setattr(_advise_sample, "MOST_BYTES", 1 << 18)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[LinkFigures]:
    """What was measured of the wire, whenever it was."""
    links: list[LinkFigures] = []

    async def measure(probe: Probe) -> LinkFigures:
        links.append(await _advise_link.measure_link(probe))
        return links[-1]

    monkeypatch.setattr(_advise, "measure_link", measure)
    return links


async def working(session: Session) -> None:
    """Do what a server does, and tell how long the workers took."""
    await session.accept()
    values = session.server.values(session.graph, await session.fetch_all())
    await session.header(values)
    await session.results(values)
    await session.send(done=pb.Done(times=pb.JobTimes(total=1.0, computed=COMPUTED, passes=2)))


def kept(server: FakeServer) -> bool:
    return any(session.start.HasField("keep") for session in server.sessions)


async def test_advice_tells_what_was_measured(server: FakeServer, streaming: AsyncClient) -> None:
    server.run = working
    server.info.workers, server.info.resident_budget_bytes = 2, 1 << 20
    expression = np.sqrt(asarray(X)).sum(axis=1)
    advice = await streaming.advise(expression)
    assert advice.now.input_bytes == advice.work.input_bytes == X.nbytes
    assert advice.work.result_bytes == 100 * 8
    assert advice.work.result_growth == 0
    assert advice.work.touched_bytes == 2 * X.nbytes + 100 * 8
    assert advice.work.passes == 2
    assert advice.work.stored_bytes == 0
    assert COMPUTED / (1 << 19) <= advice.work.server_seconds_per_byte <= COMPUTED / (1 << 10)
    assert advice.work.overhead_seconds > 0
    assert advice.link.workers == 2
    assert [lane.name for lane in advice.link.lanes] == ["frames"]
    assert advice.link.lanes[0].up_bytes_per_second > 0
    assert advice.now.kept_seconds is not None
    assert not kept(server)
    assert not server.arrays


async def test_plain_arrays_and_numbers_are_expressions_too(mill: AsyncClient) -> None:
    assert (await mill.advise(X)).work.input_bytes == X.nbytes
    assert (await mill.advise(5.0)).now.best == "local"
    assert (await mill.advise(np.empty((0, 3)))).now.input_bytes == 0


async def test_arrays_on_the_server_are_not_read(server: FakeServer, mill: AsyncClient) -> None:
    there = Handle("not even there", ArrayType((100, 300), X.dtype))
    advice = await mill.advise((there * asarray(X)).sum())
    assert (advice.work.input_bytes, advice.work.stored_bytes) == (2 * X.nbytes, X.nbytes)
    assert "fetch" in str(advice)
    assert "stand-ins" in str(advice)
    nodes = [node for session in server.sessions for node in session.start.graph.nodes]
    assert not any(node.HasField("resident") for node in nodes)


async def test_the_wire_is_measured_once(mill: AsyncClient, measured: list[LinkFigures]) -> None:
    first, second = await mill.advise(X), await mill.advise(asarray(X) + 1)
    assert first.link is second.link is measured[0]
    assert len(measured) == 1
    assert (await mill.advise(X, max_age=0)).link is measured[1]
    assert (await mill.advise(X)).link is measured[1]
    await asyncio.sleep(0.002)
    assert (await mill.advise(X, max_age=0.001)).link is measured[2]


async def test_one_measures_at_a_time(server: FakeServer, streaming: AsyncClient, measured: list[LinkFigures]) -> None:
    running = most = 0

    async def run(session: Session) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await session.accept()
        values = session.server.values(session.graph, await session.fetch_all())
        await session.header(values)
        await session.results(values)
        running -= 1
        await session.done()

    server.run = run
    advices = await asyncio.gather(*(streaming.advise(asarray(X) + number) for number in range(4)))
    assert len(measured) == 1
    assert all(isinstance(advice, Advice) for advice in advices)
    assert most == 1


def cores_of(counts: dict[int, int]) -> Callable[[int], set[int]]:
    return lambda pid: set(range(counts[pid]))


@pytest.mark.parametrize(("cores", "shares"), [(2, True), (3, True), (4, False), (64, False)])
async def test_workers_may_leave_cores_to_the_wire(
    server: FakeServer, mill: AsyncClient, monkeypatch: pytest.MonkeyPatch, cores: int, shares: bool
) -> None:
    server.info.workers = 2
    monkeypatch.setattr(os, "sched_getaffinity", cores_of({0: cores}))
    assert (await mill.advise(X)).link.shares_cores == shares


async def hang(session: Session) -> None:
    session.server.hangs.set()
    await asyncio.Event().wait()


async def test_it_ends_in_time(server: FakeServer, streaming: AsyncClient) -> None:
    server.run = hang
    with pytest.raises(DeadlineError):
        await streaming.advise(X, timeout=0.3)
    await server.cancelled.wait()
    server.run = honest
    assert (await streaming.advise(X)).work.input_bytes == X.nbytes, "and the next one measures"


async def test_waiting_for_another_measurement_counts(server: FakeServer, streaming: AsyncClient) -> None:
    server.run = hang
    first = asyncio.create_task(streaming.advise(X))
    await server.hangs.wait()
    with pytest.raises(DeadlineError):
        await streaming.advise(X, timeout=0.1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_cancelling_it_cancels_its_job(server: FakeServer, streaming: AsyncClient) -> None:
    server.run = hang
    advising = asyncio.create_task(streaming.advise(X))
    await server.hangs.wait()
    advising.cancel()
    with pytest.raises(asyncio.CancelledError):
        await advising
    await server.cancelled.wait()
    server.run = honest
    assert (await streaming.advise(X)).work.input_bytes == X.nbytes


async def test_errors_of_the_server_are_told(server: FakeServer, mill: AsyncClient) -> None:
    server.failures["Compute"] = BusyError("full")
    with pytest.raises(BusyError):
        await mill.advise(X)
    del server.failures["Compute"]
    assert (await mill.advise(X)).link.round_trip_seconds > 0


async def test_what_cannot_be_advised_on(mill: AsyncClient) -> None:
    with pytest.raises(ParameterError, match="max_age"):
        await mill.advise(X, max_age=-1)
    with pytest.raises(ParameterError, match="timeout"):
        await mill.advise(X, timeout=0)
    with pytest.raises(ParameterError, match="no sample"):
        await mill.advise(asarray(X).cumsum() + asarray(X.reshape(-1)))
    with pytest.raises(ComputationError, match="negative integer powers"):
        await mill.advise(asarray(np.full(10_000, 3)) ** asarray(np.full(10_000, -1)))
