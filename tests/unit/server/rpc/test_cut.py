"""Clients that do not read how their calls have ended: their connections end, and nothing of theirs stays."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import ref

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from addresses import needs_ipv6
from patience import until
from structlog.testing import capture_logs
from wire import RUN, open_run

from arraymill_proto.errors import BusyError, DeadlineError
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.rpc import guard as guard_module
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.cut import cut
from arraymill_server.rpc.guard import guard, unary
from arraymill_server.testing.calls import MemoryCall

# ---------------------------------------------------------------------- the connection


@contextmanager
def connected(listen: str, connect: str) -> Generator[tuple[socket.socket, str]]:
    """A client's socket, and what gRPC would call it on the other side."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(
            socket.create_server((listen, 0), family=family, dualstack_ipv6=family is socket.AF_INET6)
        )
        address = (connect, listener.getsockname()[1])
        client = stack.enter_context(socket.create_connection(address, timeout=20))
        stack.enter_context(listener.accept()[0])
        host, port = client.getsockname()[:2]
        yield client, f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("127.0.0.1", "127.0.0.1"),
        pytest.param("::1", "::1", marks=needs_ipv6),
        pytest.param("::", "127.0.0.1", marks=needs_ipv6),
    ],
)
def test_a_connection_is_cut_and_no_other(listen: str, connect: str) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with connected(listen, connect) as (client, name), connected(listen, connect) as (other, _):
        before = descriptors()
        assert cut(name)
        assert client.recv(1) == b""
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        assert descriptors() == before


@pytest.mark.parametrize("name", ["unix:", "unix:/tmp/x.sock", "ipv4:192.0.2.1:4711", "fake:1", ""])
def test_who_cannot_be_found_is_not_cut(name: str) -> None:
    first, second = socket.socketpair()
    with first, second:
        assert not cut(name)
        first.send(b"x")
        assert second.recv(1) == b"x"


# ---------------------------------------------------------------------- the call

FRAME = bytes(1 << 20)


class Served:
    """A gRPC server whose only handler sends more than a client takes that does not read, and fails."""

    def __init__(self) -> None:
        self.calls = Calls(100)
        self.server = grpc.aio.server()
        make: Any = grpc.stream_stream_rpc_method_handler
        method = make(guard(self._run, self.calls))
        service, _, name = RUN[1:].partition("/")
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def _run(self, _: object, context: Any) -> None:
        sending = asyncio.ensure_future(self._send(context))
        await asyncio.wait([sending], timeout=0.05)
        sending.cancel()
        await asyncio.wait([sending])
        raise DeadlineError("the client does not read its results")

    async def _send(self, context: Any) -> None:
        for _ in range(8):
            await context.write(FRAME)

    def connect(self) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.server.start()
    yield served
    await served.server.stop(0)


async def test_who_does_not_read_the_end_of_a_call_loses_its_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "END_SECONDS", 0.2)
    with capture_logs() as logs:
        async with served.connect() as silent:
            call = open_run(silent)
            await until(lambda: served.calls.ends.held == 1)
            assert repr(served.calls) == "<Calls: 0 open, 0 run jobs, 0 wait>"
            await until(lambda: served.calls.ends.held == 0)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
    told = [(entry["method"], entry["is_cut"]) for entry in logs if entry["event"] == "client does not read"]
    assert told == [("_run", True)]


async def test_who_reads_late_hears_of_the_end(served: Served) -> None:
    async with served.connect() as late:
        call = open_run(late)
        await until(lambda: served.calls.ends.held == 1)
        with pytest.raises(grpc.aio.AioRpcError):
            _ = [response async for response in call]
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.calls.ends.held == 0)


@pytest.mark.parametrize("is_read", [False, True])
async def test_who_does_not_read_an_answer_loses_its_connection(is_read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_job(request: pb.GetJobRequest, context: Any) -> pb.Job:
        return pb.Job(id=request.id)

    monkeypatch.setattr(guard_module, "READ_SECONDS", 0.02)
    call: Any = MemoryCall("ipv4:10.0.0.1:4711", grpc.aio.EOF)
    with capture_logs() as logs:
        await unary(get_job, pb.GetJobRequest, Calls(1))(b"", call)
        if is_read:
            call.on_done(call)
        else:
            await until(lambda: bool(logs))
        await asyncio.sleep(0.04)
    told = [(entry["event"], entry["method"], entry["is_cut"]) for entry in logs]
    assert told == ([] if is_read else [("client does not read", "get_job", False)])


async def test_grpc_tells_when_an_answer_is_on_its_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []

    def note(context: object) -> None:
        ended.append(context)

    async def get_job(request: pb.GetJobRequest, context: Any) -> pb.Job:
        context.add_done_callback(note)
        return pb.Job(id=request.id)

    make: Any = grpc.unary_unary_rpc_method_handler
    handler = make(unary(get_job, pb.GetJobRequest, served.calls), response_serializer=pb.Job.SerializeToString)
    served.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"GetJob": handler}),))
    async with served.connect() as channel:
        client: Any = channel
        await client.unary_unary("/test/GetJob")(b"")
        await until(lambda: bool(ended))


class KeepingCall(MemoryCall):
    """As gRPC's: it keeps the exception that ends its handler, whose frames know the call."""

    def __init__(self) -> None:
        super().__init__("ipv4:10.0.0.1:4711", grpc.aio.EOF)
        self.error = grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: Any) -> None:
        self.status = status
        raise self.error


class Frames:
    """Something large that a handler has in its hands."""


async def test_nothing_that_a_handler_had_waits_for_the_garbage_collector() -> None:
    seen: list[ref[Frames]] = []

    async def run(_: object, context: Any) -> None:
        frames = Frames()
        seen.append(ref(frames))
        raise BusyError("full")

    call: Any = KeepingCall()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(grpc.aio.AbortError):
            await guard(run, Calls(1))(b"", call)
        assert call.status.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [each() for each in seen] == [None]
    finally:
        gc.enable()
