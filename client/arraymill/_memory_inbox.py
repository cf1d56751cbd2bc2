"""What a server's memory socket brings: messages, and descriptors of memory that come with some of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import Final

from google.protobuf.message import DecodeError

from arraymill_proto.errors import InternalError
from arraymill_proto.memory import MessageFeed
from arraymill_proto.v1 import memory_pb2 as pb

READ_BYTES: Final = 64 << 10


class Inbox:
    """Messages that nobody has taken yet, and descriptors likewise, each in the order in which they came.

    Args:
        sock: The connection, which does not block by the time something is read.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._feed = MessageFeed()
        self._messages: deque[bytes] = deque()
        self._fds: deque[int] = deque()

    def __repr__(self) -> str:
        return f"<Inbox of {len(self)} messages, {len(self._fds)} descriptors>"

    def __len__(self) -> int:
        return len(self._messages)

    def receive(self) -> None:
        """Read once.

        Raises:
            BlockingIOError: There is nothing now.
            OSError, EOFError: There never will be.
            ArraymillError: It is no message.
        """
        data, fds, _, _ = socket.recv_fds(self._sock, READ_BYTES, 1)
        self._fds.extend(fds)
        if not data:
            raise EOFError("the server has ended the connection")
        self._messages.extend(self._feed.feed(data))

    def pop(self) -> pb.MemoryResponse:
        """Take the oldest message.

        Raises:
            InternalError: It cannot be read.
        """
        try:
            return pb.MemoryResponse.FromString(self._messages.popleft())
        except DecodeError as exc:
            raise InternalError("what the server says about shared memory cannot be read") from exc

    async def next(self) -> pb.MemoryResponse:
        """Wait for a message while nobody else reads, and take it.

        Raises:
            EOFError: The server has ended the connection.
        """
        while not self._messages:
            try:
                self.receive()
            except BlockingIOError:
                await self._readable()
        return self.pop()

    def pop_fd(self) -> int:
        """Take the oldest descriptor; whoever takes it closes it.

        Raises:
            InternalError: There is none.
        """
        if not self._fds:
            raise InternalError("the server told of memory that did not come")
        return self._fds.popleft()

    def clear(self) -> None:
        """Drop all that nobody has taken."""
        self._messages.clear()
        while self._fds:
            os.close(self._fds.popleft())

    async def _readable(self) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._sock, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._sock)
