"""The same-host lane on the wire: messages of `memory.proto` on a Unix socket. Sans-I/O.

The client says hello once; from then on both sides send messages behind their length::

    hello      61 6d 6d 65 6d 31 0a        client to server, "ammem1\\n"
    message    length (4 bytes, most significant first) | protobuf

Messages are small: arrays lie in memory that both sides have mapped.
"""

from __future__ import annotations

import os
import struct
from typing import Final, Protocol

from arraymill_proto.errors import FrameError

HELLO: Final = b"ammem1\n"
"""The first thing a client says."""

SESSION_BYTES: Final = 32
"""Length of a session's secret: nobody guesses it."""

MESSAGE_BYTES: Final = 16 << 10
"""Longest message: a range of 64 dimensions has some 300 bytes, a refusal some 4 KiB."""

CHOSEN_JOB: Final = 1 << 63
"""Least number of a job that its client chooses; the server's own lie below."""

MAX_ALLOCATIONS: Final = 8
"""Segments that one client may wait for at a time."""

SEALS: Final = 0x0001 | 0x0002 | 0x0004
"""F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW of Linux: a file that shrinks would kill whoever reads it."""

_F_GET_SEALS: Final = 1034

_LENGTH: Final = struct.Struct("!I")


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...  # noqa: N802  # protobuf's name


def encode_message(message: _Message) -> bytes:
    """Return a message behind its length."""
    data = message.SerializeToString()
    return _LENGTH.pack(len(data)) + data


class MessageFeed:
    """Cuts the bytes of one connection into messages, however they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; return the messages that are complete now.

        Raises:
            FrameError: One claims to be longer than any may be. The feed is of no use any more.
        """
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MESSAGE_BYTES:
                raise FrameError(
                    f"a message of the same-host lane claims {length:,} bytes; the most are {MESSAGE_BYTES:,}"
                )
            end = start + _LENGTH.size + length
            if end > len(self._buffer):
                break
            messages.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages


def is_sealed(fd: int, nbytes: int) -> bool:
    """Tell whether a descriptor is of memory with a size that is at least so many bytes, for ever."""
    import fcntl  # noqa: PLC0415  # not on every system that clients run on

    try:
        return fcntl.fcntl(fd, _F_GET_SEALS) & SEALS == SEALS and os.fstat(fd).st_size >= nbytes
    except OSError:  # no memory at all
        return False
