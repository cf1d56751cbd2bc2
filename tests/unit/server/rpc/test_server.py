"""The gRPC server as such."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc.aio
import pytest_asyncio
from boards import STALL_SECONDS, Bench
from calls import refusal
from wire import channel_to

from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.listen import Address
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.server import RpcServer
from arraymill_server.rpc.servicer import Servicer


@pytest_asyncio.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server on the same event loop."""
    bench, calls = Bench(), Calls(1)
    servicer = Servicer(
        bench.jobs,
        bench.residents,
        bench.arena,
        bench.engine,
        calls=calls,
        stall_seconds=STALL_SECONDS,
        submitted=bench.servicer,
    )
    server = RpcServer(servicer, bench.servicer, calls, [Address("127.0.0.1")], {})
    await server.start()
    (address,) = server.bound
    assert repr(server) == f"<RpcServer on {address}>"
    async with channel_to(str(address)) as channel:
        yield channel
    await server.stop(0)


async def test_no_call_is_lost_while_the_loop_is_busy(channel: grpc.aio.Channel) -> None:
    """Nor dropped by gRPC, whose threads go on and take calls in: they pile up behind the loop."""
    request = pb.GetJobRequest(id="nobody")
    asked = [asyncio.ensure_future(refusal(channel, "GetJob", request, pb.Job)) for _ in range(1400)]
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251  # the loop is busy
    assert {told.code for told in await asyncio.gather(*asked)} == {grpc.StatusCode.NOT_FOUND}
