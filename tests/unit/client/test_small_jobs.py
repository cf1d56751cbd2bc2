"""Small jobs of a client: on one stream where the server has it, with the answers, errors and retries of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from unit.client.fake_server import FakeServer

from arraymill import AsyncClient
from arraymill._caller import SMALL_BYTES
from arraymill_proto.errors import (
    ArraymillError,
    AxisError,
    BusyError,
    ConnectionFailedError,
    Reason,
    UnknownOperationError,
)

X = np.linspace(-2.0, 2.0, 60).reshape(3, 20)
SHUTTING_DOWN = ConnectionFailedError("the server is shutting down", reason=Reason.SHUTTING_DOWN)

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest_asyncio.fixture
async def piped(server: FakeServer) -> AsyncIterator[AsyncClient]:
    server.info.pipelines = True
    async with AsyncClient(server.address) as mill:
        yield mill


async def test_all_small_jobs_share_a_stream(server: FakeServer, piped: AsyncClient) -> None:
    sums = await asyncio.gather(*(piped.sum(X + number) for number in range(100)))
    np.testing.assert_allclose(sums, [np.sum(X + number) for number in range(100)])
    assert await piped.transform("negative", X, timeout=77) is not None
    assert (server.calls["Pipeline"], server.calls["Compute"], server.calls["Run"]) == (1, 101, 0)
    assert 0 < (server.deadlines["Compute"] or 0) <= 77


async def test_large_jobs_do_not(server: FakeServer, piped: AsyncClient) -> None:
    assert await piped.sum(np.ones(SMALL_BYTES)) == SMALL_BYTES
    assert (server.calls["Pipeline"], server.calls["Run"]) == (0, 1)


async def test_a_server_without_streams_of_jobs_gets_calls(server: FakeServer, mill: AsyncClient) -> None:
    assert await mill.sum(X) == pytest.approx(X.sum())
    assert (server.calls["Pipeline"], server.calls["Compute"]) == (0, 1)


async def test_a_job_is_sent_again_after_what_passes(server: FakeServer, piped: AsyncClient) -> None:
    server.refusals["Compute"] = [BusyError("full", retry_after=0.001), ConnectionFailedError("lost"), SHUTTING_DOWN]
    server.lost["Compute"] = 1
    assert await piped.sum(X) == pytest.approx(X.sum())
    assert server.calls["Pipeline"] >= 3, "a stream that broke, and one of another connection"


async def test_one_job_that_fails_leaves_the_others_alone(server: FakeServer, piped: AsyncClient) -> None:
    await piped.info()
    server.refusals["Compute"] = [AxisError("axis 7")]
    ends = await asyncio.gather(*(piped.sum(X) for _ in range(5)), return_exceptions=True)
    assert len([end for end in ends if isinstance(end, AxisError)]) == 1
    assert server.calls["Pipeline"] == 1


@pytest.mark.parametrize("error", [AxisError("axis 7", axis=7), UnknownOperationError("nonsense")])
async def test_errors_are_those_of_calls(server: FakeServer, piped: AsyncClient, error: ArraymillError) -> None:
    server.failures["Compute"] = error
    with pytest.raises(type(error)) as in_stream:
        await piped.sum(X)
    server.info.pipelines = False
    async with AsyncClient(server.address) as mill:
        with pytest.raises(type(error)) as in_call:
            await mill.sum(X)
    assert str(in_stream.value) == str(in_call.value)
    assert in_stream.value.details == in_call.value.details


async def test_jobs_go_on_when_the_server_comes_back(server: FakeServer, piped: AsyncClient) -> None:
    assert await piped.sum(X) == pytest.approx(X.sum())
    await server.stop()
    jobs = [asyncio.ensure_future(piped.sum(X)) for _ in range(5)]
    await asyncio.sleep(0.05)
    await server.start()
    assert await asyncio.gather(*jobs) == [pytest.approx(X.sum())] * 5


async def test_a_client_that_is_closed_fails_its_jobs(server: FakeServer) -> None:
    server.info.pipelines = True
    server.lost["Compute"] = 1000
    mill = AsyncClient(server.address)
    jobs = [asyncio.ensure_future(mill.sum(X)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await mill.close()
    for end in await asyncio.gather(*jobs, return_exceptions=True):
        assert isinstance(end, ConnectionFailedError)
