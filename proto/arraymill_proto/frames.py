"""Frames on the wire without a copy too many.

Theory of operation. Python's protobuf copies a `bytes` field on its way in and once more on its way out. Frames are
nearly all that travels, so this module writes and reads `RunRequest{frame}` and `RunResponse{frame}` itself: exactly
the bytes that protobuf would, with one copy when a frame is written (gRPC wants one bytes object) and none when it is
read (the data is a view of the message). Everything else belongs to the generated code::

    12 length | RunRequest.frame        22 length | RunResponse.frame
       08 want                          varint; left out when 0
       10 index                         varint; left out when 0
       18 offset                        varint; left out when 0
       22 length data…                  left out when empty
       29 checksum                      8 bytes; left out when there is none

Reading follows protobuf: fields come in any order; of a repeated field the last one counts; a repeated frame is merged
field by field, as if its bytes were joined; unknown fields are skipped, and a known number with another wire type is
unknown. What is rare and not wrong by itself (another member of the oneof, groups) is left to the generated parser:
`decode` returns None. What protobuf cannot have written is a FrameError.

Rejected: a service of raw bytes (the .proto would lie to other languages); a compiled extension (a compiler or a wheel
per platform, for 2 µs per MiB).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from arraymill_proto.checksums import checksum, corrupted
from arraymill_proto.errors import FrameError

Payload: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes of an array."""


class Envelope(IntEnum):
    """The message around a frame; its value is the field number of `frame`."""

    REQUEST = 2
    """RunRequest: client to server."""
    RESPONSE = 4
    """RunResponse: server to client."""


@dataclass(slots=True)
class FrameView:
    """A frame that was read; `data` is a view of the message and keeps it alive.

    Not frozen: that would make it three times as slow to build.
    """

    want: int
    index: int
    offset: int
    data: memoryview
    checksum: int | None = None
    """As the sender saw the data; None: it did not say."""

    def verify(self) -> None:
        """Check that the data arrived as it was sent, if the sender said how that was.

        Raises:
            CorruptedError: It did not.
        """
        if self.checksum is not None and checksum(self.data) != self.checksum:
            raise corrupted(self.index, self.offset, len(self.data))


_VARINT, _FIXED64, _BYTES, _START_GROUP, _END_GROUP, _FIXED32 = range(6)

_WANT: Final = 1 << 3 | _VARINT
_INDEX: Final = 2 << 3 | _VARINT
_OFFSET: Final = 3 << 3 | _VARINT
_DATA: Final = 4 << 3 | _BYTES
_CHECKSUM: Final = 5 << 3 | _FIXED64
_CHECKSUM_BYTES: Final = 8

_MEMBERS: Final = {
    Envelope.REQUEST: frozenset(number << 3 | _BYTES for number in range(1, 4)),
    Envelope.RESPONSE: frozenset(number << 3 | _BYTES for number in range(1, 8)),
}
"""Tags of the members of the oneof; a test compares them with the generated code."""

_UINT32: Final = (1 << 32) - 1
_UINT64: Final = (1 << 64) - 1
_VARINT_BYTES: Final = 10
_TAG_BYTES: Final = 5

_SHIFTS: Final = range(7, 63, 7)
"""Of the bytes of an integer after the first, as far as 63 bits."""

_EMPTY: Final = memoryview(b"")


def encode_header(want: int, index: int, offset: int, length: int, envelope: Envelope, *, trailer: int = 0) -> bytes:
    """Return what stands before `length` bytes of payload: the message is the header, the payload and the trailer.

    Args:
        want: The Want that the frame serves, 0 in result frames.
        index: Number of the input or output.
        offset: Bytes from the start of the array.
        length: Bytes of payload.
        envelope: The message around the frame.
        trailer: Bytes of the checksum's field, 0 without one.
    """
    fields = bytearray()
    for tag, value in ((_WANT, want), (_INDEX, index), (_OFFSET, offset), (_DATA, length)):
        if value:
            fields.append(tag)
            _append_varint(fields, value)
    header = bytearray((envelope << 3 | _BYTES,))
    _append_varint(header, len(fields) + length + trailer)
    return bytes(header + fields)


def encode_frame(
    want: int, index: int, offset: int, payload: Payload, envelope: Envelope, *, checked: bool = False
) -> bytes:
    """Return the message of a frame; the payload is copied once.

    Args:
        want: The Want that the frame serves, 0 in result frames.
        index: Number of the input or output.
        offset: Bytes from the start of the array.
        payload: The bytes, C-contiguous.
        envelope: The message around the frame.
        checked: Add the checksum of the payload.
    """
    length = payload.nbytes if isinstance(payload, memoryview) else len(payload)
    trailer = bytes((_CHECKSUM,)) + checksum(payload).to_bytes(_CHECKSUM_BYTES, "little") if checked else b""
    return b"".join((encode_header(want, index, offset, length, envelope, trailer=len(trailer)), payload, trailer))


def _append_varint(target: bytearray, value: int) -> None:
    while value > 0x7F:
        target.append(value & 0x7F | 0x80)
        value >>= 7
    target.append(value)


def decode(message: bytes, envelope: Envelope) -> FrameView | None:
    """Read a message of a Run stream if it holds a frame.

    Returns:
        The frame, its data a view of `message`; None when the generated parser must read the message.

    Raises:
        FrameError: The bytes are no message of protobuf's.
    """
    return _decode_plain(message, envelope << 3 | _BYTES) or _decode_any(message, envelope)


def _decode_plain(message: bytes, head: int) -> FrameView | None:  # noqa: PLR0912 - a call per field would double it
    """Read a message of one frame with fields it knows, which is what encoders write; None: look closer.

    Every such field starts with a tag of one byte and an integer, so one loop reads them all.
    """
    if not message or message[0] != head:
        return None
    want = index = offset = at = 0
    data = _EMPTY
    said: int | None = None
    is_open = False
    end = len(message)
    try:
        while at < end:
            tag = message[at]
            if tag == _CHECKSUM:
                said = int.from_bytes(message[at + 1 : at + 9], "little")
                at += 9
                continue
            value = message[at + 1]
            at += 2
            if value > 0x7F:
                value &= 0x7F
                for shift in _SHIFTS:
                    byte = message[at]
                    at += 1
                    value |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        break
                else:
                    return None
            if not is_open:
                if value != end - at:
                    return None
                is_open = True
            elif tag == _DATA:
                data = memoryview(message)[at : at + value]
                at += value
            elif tag == _WANT:
                want = value
            elif tag == _OFFSET:
                offset = value
            elif tag == _INDEX:
                index = value & _UINT32
            else:
                return None
    except IndexError:
        return None
    return FrameView(want, index, offset, data, said) if at == end else None


def _decode_any(message: bytes, envelope: Envelope) -> FrameView | None:
    """Read any message; see `decode`."""
    end = len(message)
    members = _MEMBERS[envelope]
    frame: FrameView | None = None
    at = 0
    while at < end:
        tag, at = _read_tag(message, at, end)
        if tag not in members:
            after = _skip(message, tag, at, end)
        elif tag >> 3 == envelope:
            start, after = _read_extent(message, at, end)
            frame = _read_frame(message, start, after, frame)
            if frame is None:
                return None
        else:
            return None
        if after is None:
            return None
        at = after
    return frame


def _read_frame(message: bytes, at: int, end: int, before: FrameView | None) -> FrameView | None:
    """Read the fields of a frame over those of the one `before` it; None when it holds a group."""
    frame = before or FrameView(0, 0, 0, _EMPTY)
    while at < end:
        tag, at = _read_tag(message, at, end)
        if tag == _DATA:
            start, at = _read_extent(message, at, end)
            frame.data = memoryview(message)[start:at]
        elif tag == _WANT:
            frame.want, at = _read_varint(message, at, end)
        elif tag == _OFFSET:
            frame.offset, at = _read_varint(message, at, end)
        elif tag == _INDEX:
            index, at = _read_varint(message, at, end)
            frame.index = index & _UINT32
        elif tag == _CHECKSUM and at + _CHECKSUM_BYTES <= end:
            frame.checksum = int.from_bytes(message[at : at + _CHECKSUM_BYTES], "little")
            at += _CHECKSUM_BYTES
        else:
            after = _skip(message, tag, at, end)
            if after is None:
                return None
            at = after
    return frame


def _read_tag(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a field's tag; return it and the position after it."""
    tag = message[at]
    after = at + 1
    if tag > 0x7F:
        tag, after = _read_varint(message, at, min(end, at + _TAG_BYTES))
    if not 7 < tag <= _UINT32:
        raise FrameError(f"not a message: byte {at} is no field's tag", position=at)
    return tag, after


def _read_varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Read an unsigned integer; return it and the position after it."""
    value = shift = 0
    for position in range(at, min(end, at + _VARINT_BYTES)):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _UINT64, position + 1
        shift += 7
    raise FrameError(f"not a message: the integer at byte {at} does not end", position=at)


def _read_extent(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Read the length of a length-delimited field; return where its bytes start and end."""
    length, start = _read_varint(message, at, end)
    if length > end - start:
        raise FrameError(
            f"not a message: {length} bytes are announced at byte {at}, {end - start} follow",
            position=at,
            announced=length,
        )
    return start, start + length


def _skip(message: bytes, tag: int, at: int, end: int) -> int | None:
    """Return the position after an unknown field; None for a group, which the generated parser must judge."""
    match tag & 7:
        case 0:
            return _read_varint(message, at, end)[1]
        case 2:
            return _read_extent(message, at, end)[1]
        case 1 | 5 as kind:
            after = at + (8 if kind == _FIXED64 else 4)
            if after <= end:
                return after
        case 3:
            return None
        case _:
            pass
    raise FrameError(f"not a message: a field of wire type {tag & 7} at byte {at} is wrong or cut off", position=at)
