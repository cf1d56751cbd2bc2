"""What is sent to a worker and its socket has not taken yet. Nothing here blocks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque


class Outbox:
    """Writes messages to a worker, in order. Make it in a running event loop, and `close` it.

    Args:
        pipe: Connected and non-blocking; it stays the caller's.
    """

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        """Each with the descriptor that goes with it, which is the outbox's."""

    def __len__(self) -> int:
        """Messages that the socket has not taken."""
        return len(self._unsent)

    def send(self, data: bytes, fd: int | None = None) -> None:
        """Send a message, with a descriptor of the caller's if there is one."""
        self._unsent.append((data, None if fd is None else os.dup(fd)))
        if len(self._unsent) == 1 and not self._flush():
            self._loop.add_writer(self._pipe, self._on_writable)

    def close(self) -> None:
        """Send nothing more. Safe to call twice."""
        self._loop.remove_writer(self._pipe)
        while self._unsent:
            _close(self._unsent.popleft()[1])

    def _on_writable(self) -> None:
        if self._flush():
            self._loop.remove_writer(self._pipe)

    def _flush(self) -> bool:
        """Write what the socket takes; True when nothing is left."""
        while self._unsent:
            data, fd = self._unsent[0]
            count = self._push(data, fd)
            if count == 0:
                return False
            _close(fd)  # it goes with the first byte
            if count < len(data):
                self._unsent[0] = data[count:], None
                return False
            self._unsent.popleft()
        return True

    def _push(self, data: bytes, fd: int | None) -> int:
        """Write what the socket takes. To a worker that is gone everything can be written: its end is on the way."""
        try:
            return self._pipe.send(data) if fd is None else socket.send_fds(self._pipe, [data], [fd])
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
