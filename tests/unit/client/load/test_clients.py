"""The clients of a generator: none lets a job wait for another one's answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arraymill._caller import MAX_IN_FLIGHT, Caller
from arraymill.load._clients import LoadClient
from arraymill.load._mix import Transport, read_entry
from arraymill.load._work import prepare
from arraymill_proto.v1 import arraymill_pb2 as pb

JOBS = MAX_IN_FLIGHT + 50


@pytest.mark.parametrize("text", ["sum:1KiB", "sum:1MiB"])
async def test_jobs_never_wait_for_their_turn_in_the_client(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, sent = asyncio.Event(), 0

    async def ready(self: Caller, *arguments: Any) -> pb.ServerInfo:
        return pb.ServerInfo(unary_bytes=1 << 20)

    async def tried(self: Caller, *arguments: Any, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        await answer.wait()
        return [1.0], None

    monkeypatch.setattr(Caller, "ready", ready)
    monkeypatch.setattr(Caller, "tried", tried)
    client, job = LoadClient("localhost:9", [Transport.AUTO]), prepare(read_entry(text), seed=0, is_checked=False).job
    try:
        jobs = [asyncio.ensure_future(client.run(Transport.AUTO, job, 60.0, lambda _: None)) for _ in range(JOBS)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert sent == JOBS
        answer.set()
        assert await asyncio.gather(*jobs) == [[1.0]] * JOBS
    finally:
        await client.close()
