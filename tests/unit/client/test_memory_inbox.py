"""What comes over a memory socket: messages in order, their descriptors, and what is no message."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from arraymill._memory_inbox import Inbox
from arraymill_proto.errors import InternalError
from arraymill_proto.memory import encode_message
from arraymill_proto.v1 import memory_pb2 as pb


@pytest.fixture
def ends() -> Iterator[tuple[Inbox, socket.socket]]:
    mine, server = socket.socketpair(socket.AF_UNIX)
    mine.setblocking(False)
    with mine, server:
        inbox = Inbox(mine)
        yield inbox, server
        inbox.clear()


def ended(job: int) -> bytes:
    return bytes(encode_message(pb.MemoryResponse(ended=pb.Ended(job=job))))


def test_messages_come_whole_and_in_order(ends: tuple[Inbox, socket.socket]) -> None:
    inbox, server = ends
    data = ended(1) + ended(2)
    server.send(data[:-1])
    inbox.receive()
    assert (len(inbox), inbox.pop().ended.job) == (1, 1)
    with pytest.raises(BlockingIOError):
        inbox.receive()
    server.send(data[-1:])
    inbox.receive()
    assert (inbox.pop().ended.job, len(inbox)) == (2, 0)
    server.close()
    with pytest.raises(EOFError):
        inbox.receive()


def test_descriptors_belong_to_whoever_takes_them(ends: tuple[Inbox, socket.socket]) -> None:
    inbox, server = ends
    for job in (1, 2):
        reading, writing = os.pipe()
        socket.send_fds(server, [ended(job)], [writing])
        os.close(writing)
        inbox.receive()
        if job == 1:
            os.close(inbox.pop_fd())
        else:
            inbox.clear()
        assert os.read(reading, 1) == b"", "nobody has the other end any more"
        os.close(reading)
    assert repr(inbox) == "<Inbox of 0 messages, 0 descriptors>"
    with pytest.raises(InternalError, match="did not come"):
        inbox.pop_fd()


async def test_who_waits_gets_the_next_one(ends: tuple[Inbox, socket.socket]) -> None:
    inbox, server = ends
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    server.send(ended(7))
    assert (await waiting).ended.job == 7
    waiting = asyncio.ensure_future(inbox.next())
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    server.close()
    with pytest.raises(EOFError):
        await inbox.next()


def test_what_cannot_be_read_is_an_error(ends: tuple[Inbox, socket.socket]) -> None:
    inbox, server = ends
    length = len(ended(1)) - len(pb.MemoryResponse(ended=pb.Ended(job=1)).SerializeToString())
    valid = ended(1)
    server.send(valid[:length] + b"\xff" * (len(valid) - length))
    inbox.receive()
    with pytest.raises(InternalError, match="cannot be read"):
        inbox.pop()
