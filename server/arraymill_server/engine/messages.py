"""The protocol between the server and one worker: bytes in, messages out, no I/O.

Every message is msgpack behind a length of four bytes, most significant first: what `Connection.send_bytes` writes and
`Connection.recv_bytes` reads, so the worker's side is a plain `Connection` and the server's side can read without ever
blocking. Nothing is pickled in either direction. The order is fixed:

    worker → server   Hello, then one Reply per Request, in the order of the requests
    server → worker   Request, MapSegment, UnmapSegment …, then end of file, after which the worker leaves

With MapSegment goes the segment's descriptor (SCM_RIGHTS), attached to the first byte of the message.

A request carries the generation of its task, the reply repeats it: a reply that answers no task in flight at its own
generation is stale and dropped.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import msgspec

from arraymill_proto.errors import Reason
from arraymill_server.plan.program import Task

REQUEST_BYTES: Final = 1 << 20
"""Longest request. A block with 2 operands of 3 dimensions takes 150 bytes; one with 4,096 operands of 8 dimensions,
which is the largest graph, about 400 KiB."""

REPLY_BYTES: Final = 16 << 10
"""Longest message of a worker. It fits any socket's buffer, so a worker that is alive never leaves half of one."""

TEXT_BYTES: Final = 2 << 10
"""Longest message text, and longest detail, of an error."""

TRACE_BYTES: Final = 8 << 10
"""Longest traceback; of a longer one the end is kept, where the cause stands."""

MAX_DETAILS: Final = 2
"""Most details of an error that travel: with text, traceback and these a reply stays below REPLY_BYTES."""

_LENGTH: Final = struct.Struct("!i")

HEADER_BYTES: Final = _LENGTH.size
"""What stands before the payload of a message: its length."""


class MessageError(ValueError):
    """The peer sent bytes that are no message: the process is broken and must go."""


class Request(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Run one task."""

    task_id: int
    generation: int
    """1 for the first attempt, then 2, 3, …"""
    task: Task


class MapSegment(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Map a segment: tasks will name it."""

    number: int
    size: int
    """Bytes."""


class UnmapSegment(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Forget a segment: no task will name it any more."""

    number: int


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The worker is ready. Its first message, and only the first."""

    pid: int


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """How one request ended."""

    task_id: int
    generation: int
    seconds: float
    """Worker time of the task."""
    reason: Reason | None = None
    """None: the task is done. INTERNAL: it raised what no task may raise, and `trace` tells."""
    text: str = ""
    """The error's message, fit for a client."""
    details: dict[str, str] = {}
    """The error's details, fit for a client."""
    trace: str = ""
    """The traceback, for the server's log only."""
    grown_bytes: int = 0
    """Private memory that the worker has taken since its hello; 0 when it has not looked lately."""


Message: TypeAlias = Hello | Reply
"""All that a worker says."""

Order: TypeAlias = Request | MapSegment | UnmapSegment
"""All that a worker is told."""

_encoder: Final = msgspec.msgpack.Encoder()
_orders: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_messages: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def encode(message: Order | Message) -> bytes:
    """Return the payload of a message, without its length."""
    return _encoder.encode(message)


def frame(payload: bytes) -> bytes:
    """Return the payload behind its length, as a `Connection` reads it."""
    return _LENGTH.pack(len(payload)) + payload


def length_of(header: bytes, limit: int | None = None) -> int:
    """Return the length of the payload behind a header of HEADER_BYTES.

    Raises:
        MessageError: It is negative or above the limit.
    """
    (length,) = _LENGTH.unpack(header)
    if length < 0 or (limit is not None and length > limit):
        raise MessageError(f"a message that claims {length} bytes; the limit is {limit}")
    return int(length)


def decode_order(payload: bytes) -> Order:
    """Read what a worker is told.

    Raises:
        MessageError: The payload is nothing of the kind.
    """
    try:
        return _orders.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MessageError(f"{len(payload)} bytes that are no order: {exc}") from exc


def decode_message(payload: bytes) -> Message:
    """Read what a worker said.

    Raises:
        MessageError: The payload is neither a Hello nor a Reply.
    """
    try:
        return _messages.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise MessageError(f"{len(payload)} bytes that are neither a hello nor a reply: {exc}") from exc


def head(text: str, limit: int) -> str:
    """Return the text, or the beginning of it that fits `limit` bytes of UTF-8."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


def tail(text: str, limit: int) -> str:
    """Return the text, or the end of it that fits `limit` bytes of UTF-8."""
    return text.encode(errors="replace")[-limit:].decode(errors="ignore")


class Inbox:
    """Cuts the bytes of one pipe into payloads, however they arrive."""

    def __init__(self, limit: int = REPLY_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not complete yet; at end of file: of one that its sender died in."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the payloads that are complete now.

        Raises:
            MessageError: A length is negative or above the limit. The inbox is of no use any more.
        """
        self._buffer += data
        payloads: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= HEADER_BYTES:
            length = length_of(bytes(self._buffer[start : start + HEADER_BYTES]), self._limit)
            end = start + HEADER_BYTES + length
            if end > len(self._buffer):
                break
            payloads.append(bytes(self._buffer[start + HEADER_BYTES : end]))
            start = end
        del self._buffer[:start]
        return payloads
