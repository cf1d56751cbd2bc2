"""The health service without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2 as pb

from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.health import Health

SERVING, NOT_SERVING, UNKNOWN = (
    pb.HealthCheckResponse.SERVING,
    pb.HealthCheckResponse.NOT_SERVING,
    pb.HealthCheckResponse.SERVICE_UNKNOWN,
)


class FakeContext:
    """What a handler sees of its call."""

    def __init__(self, *, reads: bool = True) -> None:
        self.told: asyncio.Queue[int] = asyncio.Queue()
        self.codes: list[grpc.StatusCode] = []
        self.error: Exception | None = None
        self._reads = reads

    def peer(self) -> str:
        return "fake:1"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def cancelled(self) -> bool:
        return False

    async def write(self, message: pb.HealthCheckResponse) -> None:
        if self.error is not None:
            raise self.error
        self.told.put_nowait(message.status)
        if not self._reads:
            await asyncio.get_running_loop().create_future()

    async def abort(self, code: grpc.StatusCode, _: str) -> None:
        self.codes.append(code)
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: Any) -> None:
        await self.abort(status.code, "")


def start(health: Health, context: Any, name: str = "") -> asyncio.Task[None]:
    return asyncio.ensure_future(health.Watch(pb.HealthCheckRequest(service=name), context))


async def check(health: Health, context: Any, name: str) -> int:
    return (await health.Check(pb.HealthCheckRequest(service=name), context)).status


async def test_a_check() -> None:
    health, context = Health(("", "mill"), Calls(1)), FakeContext()
    assert await check(health, context, "mill") == NOT_SERVING
    health.tell(is_serving=True)
    assert [await check(health, context, name) for name in ("", "mill")] == [SERVING, SERVING]
    with pytest.raises(grpc.aio.AbortError):
        await check(health, context, "other")
    assert context.codes == [grpc.StatusCode.NOT_FOUND]


async def test_watchers_are_told_what_changes_and_when_it_is_over() -> None:
    calls = Calls(1)
    health, first, second, other, deaf = (
        Health(("",), calls),
        *(FakeContext() for _ in range(3)),
        FakeContext(reads=False),
    )
    health.tell(is_serving=True)
    tasks = [start(health, first), start(health, second), start(health, other, "other"), start(health, deaf)]
    assert [await context.told.get() for context in (first, second, other, deaf)] == [
        SERVING,
        SERVING,
        UNKNOWN,
        SERVING,
    ]
    assert repr(health) == "<Health: serving, 4 watchers>"
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    health.tell(is_serving=False)
    assert await second.told.get() == NOT_SERVING
    calls.end()
    await asyncio.wait(tasks)
    assert first.codes == []
    for context in (second, other, deaf):
        assert context.codes == [grpc.StatusCode.UNAVAILABLE]
        assert context.told.empty()
    assert repr(health) == "<Health: not serving, 0 watchers>"


async def test_watchers_have_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill_server.rpc.calls.MAX_WAITS", 1)
    health, first, second = Health(("",), Calls(1)), FakeContext(), FakeContext()
    watching = start(health, first)
    await first.told.get()
    with pytest.raises(grpc.aio.AbortError):
        await start(health, second)
    assert second.codes == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_watcher_that_has_gone_is_no_defect() -> None:
    context = FakeContext()
    context.error = grpc.aio.UsageError("gone")
    watching = start(Health(("",), Calls(1)), context)
    await asyncio.wait([watching])
    assert watching.cancelled()
