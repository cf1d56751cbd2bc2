"""Messages of 1 MiB on a stream of grpc.aio, with nothing computed: what gRPC can do from Python."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc.aio
import numpy as np
import uvloop

from suite.data import Array, numbers
from suite.processes import peer_command, server_process
from suite.servers.bare_grpc import METHOD, OPTIONS
from suite.task import Moved, Run, Task, Works, one_by_one

MESSAGE_BYTES: Final = 1 << 20


@contextmanager
def _one_way(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with (
        server_process(peer_command("bare_grpc")) as (address, _),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        channel = runner.run(_connected(address))
        try:
            yield one_by_one(lambda: runner.run(_send(channel, x)), task.jobs)
        finally:
            runner.run(channel.close())


async def _connected(address: str) -> grpc.aio.Channel:
    channel = grpc.aio.insecure_channel(address, options=OPTIONS)
    await channel.channel_ready()
    return channel


async def _send(channel: grpc.aio.Channel, x: Array) -> Moved:
    """Send all bytes, each message made while gRPC writes the one before it."""
    method: Any = channel.stream_stream(METHOD)
    call, data = method(), x.view(np.uint8).data
    writing: asyncio.Future[None] | None = None
    for start in range(0, len(data), MESSAGE_BYTES):
        message = bytes(data[start : start + MESSAGE_BYTES])
        if writing is not None:
            await writing
        writing = asyncio.ensure_future(call.write(message))
        await asyncio.sleep(0)
    if writing is not None:
        await writing
    await call.done_writing()
    return Moved(int.from_bytes(await call.read(), "big"))


WORKS: Works = {"sum": _one_way}
