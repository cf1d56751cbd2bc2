"""Clients that bring a byte now and then: never silent, and never done."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from calls import ask, failure_of, info
from servers import running_server
from wire import (
    Call,
    bulk_stream,
    channel_to,
    frame_message,
    next_accepted,
    next_want,
    open_run,
    record_bytes,
    responses,
    start_message,
    write_unless_ended,
)

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb

SECONDS = 30
X = np.arange(100_000.0)
SUM = Graph((Input(X.shape, X.dtype), Operation("sum", (0,))), (1,))


async def is_cut_off(call: Call) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [response async for response in responses(call)]
    told = failure_of(caught.value)
    assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE")
    assert "moved too little while its job waited" in told.text
    assert told.numbers["least_bytes_per_second"] == "4096"


async def frames_of_one_byte(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM))
    want = await next_want(call)
    cut = asyncio.ensure_future(is_cut_off(call))
    for offset in range(want.length):
        if cut.done():
            break
        await write_unless_ended(call, frame_message(want.want, 0, want.offset + offset, b"x"))
        await asyncio.wait([cut], timeout=0.1)
    await cut


async def a_record_of_which_a_byte_comes_now_and_then(channel: grpc.aio.Channel) -> None:
    call = open_run(channel)
    await call.write(start_message(SUM, bulk=True))
    accepted = await next_accepted(call)
    want = await next_want(call)
    cut = asyncio.ensure_future(is_cut_off(call))
    async with bulk_stream(accepted.bulk.port) as client:
        await client.greet(accepted.bulk.secret)
        await client.say(record_bytes(want.want, 0, want.offset, b"", length=want.length))
        while not cut.done():
            await client.say(b"x")
            await asyncio.wait([cut], timeout=0.1)
    await cut


async def clients_that_come_and_go_with_a_byte_each(channel: grpc.aio.Channel) -> None:
    job = await ask(channel, "SubmitJob", pb.SubmitJobRequest(graph=graph_to_pb(SUM)), pb.Job)
    over = asyncio.ensure_future(ask(channel, "GetJob", pb.GetJobRequest(id=job.id, wait_seconds=SECONDS), pb.Job))
    for offset in range(X.nbytes):
        await bring(channel, job.id, offset)
        await asyncio.wait([over], timeout=0.1)
        if over.done():
            break
    ended: Any = await over
    assert (ended.state, ended.error.reason) == (pb.JOB_FAILED, "DEADLINE")
    assert "moved too little while its job waited" in ended.error.message


async def bring(channel: grpc.aio.Channel, id: str, offset: int) -> None:
    """Attach, bring one byte, and leave; the job may have ended before or meanwhile."""
    call = open_run(channel)
    try:
        await call.write(pb.RunRequest(attach=pb.Attach(job_id=id)).SerializeToString())
        want = await next_want(call)
        await call.write(frame_message(want.want, 0, want.offset + offset, b"x"))
        await asyncio.sleep(0.02)
    except grpc.aio.AioRpcError:
        pass
    call.cancel()


async def test_the_server_loses_patience() -> None:
    with running_server("--stall", "1s", workers=1, arena="64MiB") as server:  # and with a trickle after 4 s
        async with channel_to(server.address) as channel:
            await asyncio.gather(
                frames_of_one_byte(channel),
                a_record_of_which_a_byte_comes_now_and_then(channel),
                clients_that_come_and_go_with_a_byte_each(channel),
            )
            told = await info(channel)
            assert (told.running_jobs, told.arena_free_bytes) == (0, told.arena_bytes), "something is still reserved"
