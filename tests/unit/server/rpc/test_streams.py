"""The reading half of a stream, and the end of its tasks."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import grpc.aio
import pytest
from patience import turns, until
from wire import frame_message, start_message

from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView
from arraymill_proto.graph import Graph
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.rpc.streams import Gate, linger, receive, stop
from arraymill_server.testing.calls import MemoryCall


class Receiver:
    """Notes what it gets, and wants so many bytes."""

    def __init__(self, wanted_bytes: int = 1 << 30) -> None:
        self.wanted_bytes = wanted_bytes
        self.gate = Gate(lambda: self.wanted_bytes)
        self.frames: list[FrameView] = []
        self.has_ended = False
        self.error: Exception | None = None

    def receive(self, frame: FrameView) -> None:
        if self.error is not None:
            raise self.error
        self.frames.append(frame)

    def input_ended(self) -> None:
        self.has_ended = True

    def want(self, nbytes: int) -> None:
        self.wanted_bytes += nbytes
        self.gate.open()


class CountingCall(MemoryCall):
    """Counts the reads that have begun, and those that wait now."""

    def __init__(self) -> None:
        super().__init__("a", grpc.aio.EOF)
        self.begun = self.waiting = 0

    async def read(self) -> Any:
        self.begun += 1
        self.waiting += 1
        try:
            return await super().read()
        finally:
            self.waiting -= 1


def reading(call: MemoryCall, receiver: Receiver) -> asyncio.Task[None]:
    context: Any = call
    return asyncio.create_task(receive(receiver, context))


async def test_frames_in_their_order_and_the_end() -> None:
    call, receiver = CountingCall(), Receiver()
    task = reading(call, receiver)
    frames = [FrameView(1, 0, 8 * at, memoryview(bytes([at]) * 8)) for at in range(5)]
    for frame in frames:
        call.send(frame_message(frame.want, frame.index, frame.offset, bytes(frame.data)))
    await until(lambda: len(receiver.frames) == 5)
    assert (receiver.frames, receiver.has_ended) == (frames, False)
    call.end()
    await task
    assert (receiver.has_ended, call.waiting) == (True, 0)


async def test_a_client_that_cancels_has_not_left_its_input_out() -> None:
    """gRPC tells of the end of its half first."""
    call, receiver = CountingCall(), Receiver()
    task = reading(call, receiver)
    call.end()
    await until(lambda: call.begun == 1 and call.waiting == 0)
    await turns(5)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not receiver.has_ended


async def test_the_next_frame_is_read_while_one_is_copied() -> None:
    call = CountingCall()
    begun: list[int] = []

    class Copying(Receiver):
        def receive(self, frame: FrameView) -> None:
            begun.append(call.begun)

    for _ in range(3):
        call.send(frame_message(1, 0, 0, b"x"))
    call.end()
    await reading(call, Copying())
    assert begun == [2, 3, 4]


async def test_nothing_is_read_while_nothing_is_wanted() -> None:
    """A read that has begun when the call ends is never freed by gRPC."""
    call = CountingCall()

    class Wanting(Receiver):
        def receive(self, frame: FrameView) -> None:
            super().receive(frame)
            self.wanted_bytes -= len(frame.data)

    receiver = Wanting(wanted_bytes=0)
    task = reading(call, receiver)
    for _ in range(3):
        call.send(frame_message(1, 0, 0, b"12345678"))
    await turns(5)
    assert call.begun == 0
    receiver.want(16)
    await until(lambda: len(receiver.frames) == 2)
    await turns(5)
    assert (call.begun, call.waiting) == (2, 0)
    receiver.want(8)
    await until(lambda: len(receiver.frames) == 3)
    task.cancel()
    await asyncio.wait([task])
    assert (call.begun, call.waiting) == (3, 0)


async def test_a_read_that_is_under_way_sees_the_end_of_the_clients_side() -> None:
    call, receiver = CountingCall(), Receiver(wanted_bytes=8)
    task = reading(call, receiver)
    await turns(2)
    receiver.wanted_bytes = 0  # it came by another lane
    lingering = asyncio.create_task(linger(receiver.gate, task))
    await turns(5)
    assert not lingering.done()
    call.end()
    await lingering
    assert (task.done(), call.begun, call.waiting, receiver.has_ended) == (True, 1, 0, True)


async def test_a_client_that_does_not_end_its_side_is_not_waited_for_long() -> None:
    call, receiver = CountingCall(), Receiver(wanted_bytes=8)
    task = reading(call, receiver)
    await turns(2)
    await linger(receiver.gate, task)
    assert not task.done()
    await stop(task)
    assert call.waiting == 0


async def test_nothing_is_waited_for_while_nothing_is_read() -> None:
    call, receiver = CountingCall(), Receiver(wanted_bytes=0)
    task = reading(call, receiver)
    await turns(2)
    lingering = asyncio.create_task(linger(receiver.gate, task))
    await turns(2)
    assert lingering.done()
    assert call.begun == 0
    await stop(task)


BAD: dict[str, tuple[bytes, str]] = {
    "start again": (start_message(Graph((), ())), "the client sends frames only; this message is none"),
    "attach again": (pb.RunRequest(attach=pb.Attach(job_id="x")).SerializeToString(), "sends frames only"),
    "an empty message": (b"", "sends frames only"),
    "garbage": (b"\xff" * 40, "not a message: the integer at byte 0 does not end"),
    "cut off": (frame_message(1, 0, 0, b"12345678")[:-3], "not a message: 12 bytes are announced at byte 1, 9 follow"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_frame(name: str) -> None:
    message, text = BAD[name]
    call, receiver = CountingCall(), Receiver()
    call.send(frame_message(1, 0, 0, b"x"))
    call.send(message)
    call.send(frame_message(1, 0, 1, b"y"))
    with pytest.raises(FrameError, match=text):
        await reading(call, receiver)
    assert (len(receiver.frames), receiver.has_ended, call.waiting) == (1, False, 0)


async def test_a_frame_that_does_not_fit_ends_the_reading() -> None:
    call, receiver = CountingCall(), Receiver()
    receiver.error = FrameError("overlaps")
    call.send(frame_message(1, 0, 0, b"x"))
    with pytest.raises(FrameError, match="overlaps"):
        await reading(call, receiver)
    assert call.waiting == 0


@pytest.mark.parametrize("count", range(4))
async def test_reading_can_be_cancelled_at_any_time(count: int) -> None:
    call, receiver = CountingCall(), Receiver()
    call.send(frame_message(1, 0, 0, b"x"))
    task = reading(call, receiver)
    await turns(count)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (call.waiting, receiver.has_ended) == (0, False)


async def test_a_connection_that_breaks() -> None:
    class Broken(MemoryCall):
        async def read(self) -> Any:
            raise grpc.aio.InternalError("gone")

    receiver = Receiver()
    with pytest.raises(grpc.aio.InternalError):
        await reading(Broken("a", grpc.aio.EOF), receiver)
    assert not receiver.has_ended


# ---------------------------------------------------------------------- stop


async def slowly(release: asyncio.Event, error: Exception | None = None) -> None:
    """Take a cancellation in, and end later."""
    try:
        await asyncio.Event().wait()
    finally:
        await release.wait()
        if error is not None:
            raise error


async def test_stopping_waits_for_the_end() -> None:
    release = asyncio.Event()
    task = asyncio.create_task(slowly(release))
    await turns(1)
    stopping = asyncio.create_task(stop(task))
    await turns(3)
    assert not stopping.done()
    release.set()
    await stopping
    assert task.cancelled()


async def test_whatever_happens_meanwhile() -> None:
    """Whoever stops them is cancelled himself, twice: what they hold is given back all the same."""
    release = asyncio.Event()
    tasks = [asyncio.create_task(slowly(release)) for _ in range(2)]
    await turns(1)
    stopping = asyncio.create_task(stop(*tasks))
    for _ in range(2):
        await turns(2)
        stopping.cancel()
    await turns(2)
    assert not stopping.done()
    release.set()
    await asyncio.wait([stopping])
    assert all(task.done() for task in tasks)


async def test_errors_of_what_is_stopped_are_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()
    release.set()
    failing = asyncio.create_task(slowly(release, RuntimeError("while it ended")))
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(RuntimeError("before"))
    done = asyncio.create_task(asyncio.sleep(0))
    await turns(2)
    await stop(failing, failed, done)
    del failing, failed
    gc.collect()
    assert not caplog.records, "asyncio complains about errors that nobody looks at"


async def test_nothing_to_stop() -> None:
    await stop()
