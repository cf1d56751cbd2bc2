"""One server after the other at the same addresses: no call of the shipped client fails."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc.aio
import numpy as np
import pytest
from calls import info
from restarts import CALLS, free_addresses, restart, roll
from wire import channel_to, frame_message, next_want, open_run, responses, start_message

import arraymill as am
from arraymill_proto.graph import Graph, Input, Operation

X = np.arange(100_000.0)
SUM = Graph((Input(X.shape, X.dtype), Operation("sum", (0,))), (1,))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder where no socket and no lock may be left."""
    yield tmp_path
    assert not list(tmp_path.iterdir())


async def test_a_rolling_restart_under_load(folder: Path) -> None:
    """At a socket; with TCP it is a row of the table of faults."""
    tally = await roll(free_addresses(f"unix:{folder}/socket"), 1, clients=2)
    assert tally.failures == []
    assert set(tally.answers) == set(CALLS)


async def running_jobs(address: str, connections: int = 10) -> set[int]:
    """Count the jobs of the servers that new connections get to."""
    counts = set[int]()
    for _ in range(connections):
        options = [("grpc.use_local_subchannel_pool", 1)]  # else channels share a connection
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            counts.add((await info(channel)).running_jobs)
    return counts


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_the_old_server_ends_its_jobs_while_new_ones_come_and_go(folder: Path, kind: str) -> None:
    addresses = free_addresses(f"unix:{folder}/socket" if kind == "unix" else "")
    with ExitStack() as stack:
        first = await restart(stack, addresses, None)
        async with channel_to(addresses.grpc) as channel:
            call = open_run(channel)
            await call.write(start_message(SUM))
            want = await next_want(call)
            second = await restart(stack, addresses, None)
            assert (await info(channel)).running_jobs == 1
            assert await running_jobs(addresses.grpc) == {0}, "all new connections get to the second server"
            first.process.send_signal(signal.SIGTERM)
            third = await restart(stack, addresses, second)
            async with am.AsyncClient(addresses.grpc) as mill:
                assert await mill.sum(X) == X.sum()
            assert await running_jobs(addresses.grpc) == {0}
            await call.write(frame_message(want.want, want.index, want.offset, X.tobytes()))
            frames = [response.frame.data async for response in responses(call) if response.HasField("frame")]
            assert np.frombuffer(frames[0], X.dtype) == X.sum()
        assert await asyncio.to_thread(first.process.wait, 30) == 0
        async with am.AsyncClient(addresses.grpc) as mill:
            assert await mill.sum(X) == X.sum()
        third.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(third.process.wait, 30) == 0
