"""Messages and descriptors through a pair of sockets, from the server's outbox to the worker's pipe."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from dataclasses import dataclass
from tempfile import TemporaryFile

import pytest
from descriptors import held

from arraymill_server.engine.messages import MessageError, frame
from arraymill_server.engine.outbox import Outbox
from arraymill_server.engine.pipe import Pipe
from arraymill_server.engine.processes import connection


@dataclass
class Ends:
    outbox: Outbox
    server: socket.socket
    worker: Pipe


@pytest.fixture
async def ends() -> AsyncGenerator[Ends]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, closing(Pipe(connection(theirs.detach()))) as pipe:
        outbox = Outbox(ours)
        yield Ends(outbox, ours, pipe)
        outbox.close()


async def read(ends: Ends, count: int) -> list[bytes]:
    """Read in a thread, as a worker does in its process."""
    return await asyncio.to_thread(lambda: [ends.worker.recv_bytes(1 << 20) for _ in range(count)])


def content(fd: int) -> bytes:
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def send_file(ends: Ends, text: bytes, payload: bytes) -> None:
    """Send a message with a file that the sender closes at once."""
    with TemporaryFile() as file:
        file.write(text)
        file.flush()
        ends.outbox.send(frame(payload), file.fileno())


async def test_messages_come_in_their_order_however_long(ends: Ends) -> None:
    payloads = [bytes([number]) * length for number, length in enumerate((0, 1, 100_000, 3, 50_000))]
    for payload in payloads:
        ends.outbox.send(frame(payload))
    assert await read(ends, 5) == payloads


async def test_descriptors_come_with_their_messages(ends: Ends) -> None:
    before = held()
    ends.outbox.send(frame(b"x" * 100_000))  # what follows waits for it
    for number in range(20):
        send_file(ends, b"file %d" % number, b"message %d" % number)
        ends.outbox.send(frame(b"between"))
    assert await read(ends, 1) == [b"x" * 100_000]
    for number in range(20):
        assert await read(ends, 2) == [b"message %d" % number, b"between"]
        assert content(ends.worker.take_fd()) == b"file %d" % number
    assert held() == before


async def test_what_is_not_sent_is_closed(ends: Ends) -> None:
    before = held()
    ends.outbox.send(frame(b"x" * 1_000_000))
    send_file(ends, b"never", b"seen")
    assert held() == before + 1
    ends.outbox.close()
    assert held() == before


async def test_a_worker_that_is_gone_takes_everything(ends: Ends) -> None:
    before = held()
    ends.worker.close()
    for _ in range(3):
        send_file(ends, b"never", b"seen")
        ends.outbox.send(frame(b"x" * 100_000))
    assert held() < before


@pytest.mark.parametrize(
    ("bytes_of", "error"),
    [
        (lambda: b"", EOFError),
        (lambda: frame(b"abc")[:2], EOFError),
        (lambda: frame(b"abc")[:-1], EOFError),
        (lambda: frame(bytes(11)), MessageError),
        (lambda: b"\xff\xff\xff\xff", MessageError),
    ],
)
async def test_ends_in_the_middle_and_nonsense(
    ends: Ends, bytes_of: Callable[[], bytes], error: type[Exception]
) -> None:
    ends.server.send(bytes_of())
    ends.server.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        ends.worker.recv_bytes(10)
