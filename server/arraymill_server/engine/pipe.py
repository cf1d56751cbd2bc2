"""The worker's end of its pipe: messages, and the descriptors that come with some of them."""

from __future__ import annotations

import os
import socket
from collections import deque

from arraymill_server.engine.messages import HEADER_BYTES, length_of
from arraymill_server.engine.processes import Connection


class Pipe:
    """Reads one message at a time. A `Connection` that keeps descriptors, which a plain one would let fall.

    Args:
        connection: Over one end of a pair of Unix sockets; it stays open as long as the pipe is used.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._socket.close()
        self._connection.close()

    def send_bytes(self, buf: bytes) -> None:
        """Send one message."""
        self._connection.send_bytes(buf)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Wait for one message.

        Raises:
            EOFError: The other end is closed.
            MessageError: It claims to be longer than `maxlength`.
        """
        header = self._read(HEADER_BYTES)
        return self._read(length_of(header, maxlength))

    def take_fd(self) -> int:
        """Return the oldest descriptor that came and was not taken."""
        return self._fds.popleft()

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more, fds, _, _ = socket.recv_fds(self._socket, length - len(data), 1)
            self._fds.extend(fds)
            if not more:
                raise EOFError
            data = data + more if data else more
        return data
