"""The bulk lane on the wire: array bytes on a plain socket beside the gRPC stream of their job.

The client opens a connection and says hello with the secret that Accepted has brought; the server answers with one
byte. From then on both sides send records, each a header and the bytes of a range::

    hello    61 6d 62 75 6c 6b 31 0a | secret           client to server, 40 bytes
    answer   2b                                         server to client
    header   want | offset | length | checksum | index | flags    little-endian u64 u64 u64 u64 u32 u32

A record means what a Frame of the same fields means and may be as long as its Want. Whoever says no hello of an open
offer is disconnected; a record that makes no sense ends the job, as such a Frame does.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from arraymill_proto.checksums import checksum, corrupted
from arraymill_proto.errors import FrameError

SECRET_BYTES: Final = 32
"""Length of a secret: nobody guesses it."""

_MAGIC: Final = b"ambulk1\n"

HELLO_BYTES: Final = len(_MAGIC) + SECRET_BYTES
"""Length of the first thing a client says."""

WELCOME: Final = b"+"
"""The server's answer to a hello that it knows; to any other it closes the connection."""

SOCKET_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2))
        if hasattr(socket, name)
    ),
)
"""What both sides set on their socket: a peer that vanished is noticed within 40 s, as on the channel. TCP_USER_TIMEOUT
is not among them: it also ends the connection of a client that pauses, which is for the server's limit to judge."""

_UNPACED: Final = b"reno"
"""A congestion control that every Linux has and lets everybody choose, and that sends as fast as the receiver reads."""


def tune(sock: socket.socket) -> None:
    """Prepare a connected socket for records.

    Within one host nothing is congested: there a congestion control that paces what it sends, such as BBR, takes a
    third of the throughput for nothing. On a network the machine's own is used.
    """
    for option in SOCKET_OPTIONS:
        sock.setsockopt(*option)
    if hasattr(socket, "TCP_CONGESTION") and sock.getsockname()[0] == sock.getpeername()[0]:
        with suppress(OSError):  # a kernel without it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _UNPACED)


_HEADER: Final = struct.Struct("<QQQQII")

_IS_CHECKED: Final = 1
"""The one flag: the checksum counts."""

HEADER_BYTES: Final = _HEADER.size
"""Length of a record before its data."""


@dataclass(frozen=True, slots=True)
class Record:
    """A range of an input or of an output, without its bytes."""

    want: int
    """The Want that it serves; 0 for results."""
    index: int
    """Number of the input or output."""
    offset: int
    """Bytes from the start of the array."""
    length: int
    """Bytes of the range."""
    checksum: int | None = None
    """As the sender saw its bytes; None: it did not say."""

    @property
    def end(self) -> int:
        """First byte after the range."""
        return self.offset + self.length

    def verify(self, data: memoryview) -> None:
        """Check that the bytes of the range arrived as they were sent, if the sender said how that was.

        Raises:
            CorruptedError: They did not.
        """
        if self.checksum is not None and checksum(data) != self.checksum:
            raise corrupted(self.index, self.offset, self.length)


def encode_hello(secret: bytes) -> bytes:
    """Return what a client says first."""
    return _MAGIC + secret


def decode_hello(hello: bytes) -> bytes | None:
    """Return the secret of a hello of `HELLO_BYTES`; None when it is none."""
    is_hello = len(hello) == HELLO_BYTES and hello.startswith(_MAGIC)
    return hello[len(_MAGIC) :] if is_hello else None


def encode_header(record: Record) -> bytes:
    """Return what stands before the data of a record."""
    flags = 0 if record.checksum is None else _IS_CHECKED
    return _HEADER.pack(record.want, record.offset, record.length, record.checksum or 0, record.index, flags)


def decode_header(header: bytes | bytearray) -> Record:
    """Read a header of `HEADER_BYTES`.

    Raises:
        FrameError: The bytes are no header.
    """
    want, offset, length, said, index, flags = _HEADER.unpack(header)
    if flags & ~_IS_CHECKED:
        raise FrameError(
            f"a record of the bulk lane does not begin with a header: its flags are {flags:#x}, not 0 or 1"
        )
    return Record(want, index, offset, length, said if flags else None)
