"""How real servers end: after the drain, at once at the second signal, and what clients are told meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import grpc
import grpc.aio
import numpy as np
import pytest
from servers import RunningServer, running_server
from wire import Call, channel_to, frame_message, next_want, open_run, responses, start_message

import arraymill as am
from arraymill_proto.graph import Graph, Input, Operation

SECONDS = 30
X = np.arange(100_000.0)
SUM = Graph((Input(X.shape, X.dtype), Operation("sum", (0,))), (1,))


@asynccontextmanager
async def stuck_job(server: RunningServer) -> AsyncGenerator[Call]:
    """A job whose client was asked for bytes, and does not feed it."""
    async with channel_to(server.address) as channel:
        call = open_run(channel)
        await call.write(start_message(SUM))
        yield call


async def ends(server: RunningServer) -> int:
    return await asyncio.to_thread(server.process.wait, SECONDS)


async def refuses_calls(server: RunningServer) -> None:
    """Wait until the server takes no new calls: it has heard the signal."""
    async with asyncio.timeout(SECONDS), am.AsyncClient(server.address, connect_timeout=1, retry_for=0) as mill:
        with suppress(am.ConnectionFailedError):
            while True:
                await mill.info()


async def is_told(call: Call) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in responses(call):
            pass
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "the server is shutting down" in (caught.value.details() or "")


async def test_the_drain_ends_and_the_client_of_a_stuck_job_is_told() -> None:
    with running_server("--drain", "1", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call:
            await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            await is_told(call)
            assert await ends(server) == 0


async def test_a_second_signal_ends_the_drain() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call:
            await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            await refuses_calls(server)
            server.process.send_signal(signal.SIGTERM)
            await is_told(call)
            assert await ends(server) == 0


async def test_a_job_that_ends_during_the_drain_is_answered() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        async with stuck_job(server) as call:
            want = await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            await refuses_calls(server)
            await call.write(frame_message(want.want, want.index, want.offset, X.tobytes()))
            results = [response.frame.data async for response in responses(call) if response.HasField("frame")]
            assert np.frombuffer(results[0], X.dtype) == X.sum()
            assert await ends(server) == 0


async def test_the_end_of_the_parent_hurries_the_drain_that_a_signal_began() -> None:
    with running_server("--drain", "3600", workers=1, arena="48MiB") as server:
        stdin, server.process.stdin = server.process.stdin, None
        assert stdin is not None
        async with stuck_job(server) as call:
            await next_want(call)
            server.process.send_signal(signal.SIGTERM)
            stdin.close()
            await is_told(call)
            assert await ends(server) == 0
