"""Frames against the generated code, in both directions; garbage against protobuf's own judgement."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from profiles import examples

from arraymill_proto.checksums import checksum
from arraymill_proto.codec import parse_request, parse_response
from arraymill_proto.errors import CorruptedError, FrameError
from arraymill_proto.frames import Envelope, FrameView, decode, encode_frame, encode_header
from arraymill_proto.v1 import arraymill_pb2 as pb

Message: TypeAlias = pb.RunRequest | pb.RunResponse

CLASSES: dict[Envelope, type[pb.RunRequest] | type[pb.RunResponse]] = {
    Envelope.REQUEST: pb.RunRequest,
    Envelope.RESPONSE: pb.RunResponse,
}

envelopes = st.sampled_from(Envelope)
uint64 = st.integers(0, 300) | st.integers(0, 2**64 - 1)
uint32 = st.integers(0, 300) | st.integers(0, 2**32 - 1)
payloads = st.binary(max_size=300)


# ------------------------------------------------------------------------------------- strategies of the wire format


def varint(value: int, spare: int = 0) -> bytes:
    """Encode an integer, with `spare` needless continuation bytes."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * spare
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def extent(content: bytes, spare: int = 0) -> bytes:
    return varint(len(content), spare) + content


def field(number: int, kind: int, body: bytes) -> bytes:
    return varint(number << 3 | kind) + body


spares = st.just(0) | st.integers(0, 9)
numbers = st.integers(1, 8) | st.sampled_from([0, 15, 16, 2**29 - 1, 2**29])
integers = st.builds(varint, st.integers(0, 2**70), spares)
extents = st.builds(extent, payloads, spares)
bodies: dict[int, st.SearchStrategy[bytes]] = {
    0: integers,
    1: st.binary(min_size=8, max_size=8),
    2: extents,
    5: st.binary(min_size=4, max_size=4),
}


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """A field of any number and wire type; rarely an end without a group, or no wire type at all."""
    number = draw(numbers)
    kind = draw(st.sampled_from([0, 0, 0, 1, 2, 2, 2, 3, 5] + [4, 6, 7] * draw(st.booleans())))
    tag = varint(number << 3 | kind, draw(spares))
    if kind == 3:
        return tag + draw(fields()) + varint(number << 3 | 4)
    return tag + draw(bodies.get(kind, st.just(b"")))


integer_fields = st.builds(field, st.integers(1, 3), st.just(0), integers)
data_fields = st.builds(field, st.just(4), st.just(2), extents)
checksum_fields = st.builds(field, st.just(5), st.just(1), st.binary(min_size=7, max_size=8))
contents = st.lists(integer_fields | data_fields | checksum_fields | fields(), max_size=5).map(b"".join)
members = st.builds(field, st.sampled_from([2, 4]), st.just(2), st.builds(extent, contents, spares))
messages = st.lists(members | members | fields(), max_size=3).map(b"".join)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A good message with bytes changed, cut or put in."""
    message = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(message)))
        width = draw(st.integers(0, 2))
        message[at : at + width] = draw(st.binary(max_size=2))
    return bytes(message)


# ------------------------------------------------------------------------------------- writing


@given(uint64, uint32, uint64, payloads, envelopes)
def test_writes_exactly_what_protobuf_writes(
    want: int, index: int, offset: int, data: bytes, envelope: Envelope
) -> None:
    generated = CLASSES[envelope](frame=pb.Frame(want=want, index=index, offset=offset, data=data))
    assert encode_frame(want, index, offset, data, envelope) == generated.SerializeToString()


@given(uint64, uint32, uint64, payloads, envelopes)
def test_a_message_is_its_header_and_the_payload(
    want: int, index: int, offset: int, data: bytes, envelope: Envelope
) -> None:
    header = encode_header(want, index, offset, len(data), envelope)
    assert header + data == encode_frame(want, index, offset, data, envelope)


@given(uint64, uint32, uint64, payloads, envelopes)
def test_checks_what_it_writes(want: int, index: int, offset: int, data: bytes, envelope: Envelope) -> None:
    message = encode_frame(want, index, offset, data, envelope, checked=True)
    frame = pb.Frame(want=want, index=index, offset=offset, data=data, checksum=checksum(data))
    assert message == CLASSES[envelope](frame=frame).SerializeToString()
    view = decode(message, envelope)
    assert view is not None
    assert view == view_of(frame)
    view.verify()


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_changed_byte_is_found(data: bytes, draw: st.DataObject) -> None:
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = bytearray(data)
    changed[place] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(CorruptedError, match="arrived other than they were sent"):
        FrameView(1, 0, 0, memoryview(changed), checksum(data)).verify()


def test_takes_any_contiguous_buffer() -> None:
    array = np.arange(12.0).reshape(3, 4)
    expected = encode_frame(1, 2, 3, array.tobytes(), Envelope.REQUEST)
    assert encode_frame(1, 2, 3, array.data, Envelope.REQUEST) == expected
    assert encode_frame(1, 2, 3, bytearray(array.tobytes()), Envelope.REQUEST) == expected
    with pytest.raises(TypeError):
        encode_frame(1, 2, 3, array.T.data, Envelope.REQUEST)


# ------------------------------------------------------------------------------------- reading


@given(uint64, uint32, uint64, payloads, envelopes)
def test_reads_what_protobuf_writes(want: int, index: int, offset: int, data: bytes, envelope: Envelope) -> None:
    message = CLASSES[envelope](frame=pb.Frame(want=want, index=index, offset=offset, data=data)).SerializeToString()
    assert decode(message, envelope) == FrameView(want, index, offset, memoryview(data))


def test_data_is_a_view_of_the_message() -> None:
    message = encode_frame(1, 0, 0, bytes(1 << 20), Envelope.REQUEST)
    view = decode(message, Envelope.REQUEST)
    assert view is not None
    assert view.data.obj is message
    assert view.data.nbytes == 1 << 20


@pytest.mark.parametrize("envelope", Envelope)
def test_other_members_are_left_to_protobuf(envelope: Envelope) -> None:
    frame = encode_frame(1, 2, 3, b"x", envelope)
    for member in CLASSES[envelope].DESCRIPTOR.fields:
        message = CLASSES[envelope]()
        getattr(message, member.name).SetInParent()
        written = message.SerializeToString()
        is_frame = member.name == "frame"
        assert [decode(one, envelope) is not None for one in (written, frame + written, written + frame)] == [
            is_frame
        ] * 3


def test_the_numbers_are_those_of_the_contract() -> None:
    assert pb.RunRequest.FRAME_FIELD_NUMBER == Envelope.REQUEST
    assert pb.RunResponse.FRAME_FIELD_NUMBER == Envelope.RESPONSE
    assert [(field.name, field.number) for field in pb.Frame.DESCRIPTOR.fields] == [
        ("want", 1),
        ("index", 2),
        ("offset", 3),
        ("data", 4),
        ("checksum", 5),
    ]


def protobuf_reads(message: bytes, envelope: Envelope) -> Message | None:
    """Return what the generated parser reads; None when it refuses."""
    try:
        return CLASSES[envelope].FromString(message)
    except DecodeError:
        return None


def view_of(frame: pb.Frame) -> FrameView:
    checksum = frame.checksum if frame.HasField("checksum") else None
    return FrameView(frame.want, frame.index, frame.offset, memoryview(frame.data), checksum)


def assert_agrees_with_protobuf(message: bytes, envelope: Envelope) -> None:
    """Assert the same judgement and values as the generated parser's, by `decode` alone and with the rest."""
    expected = protobuf_reads(message, envelope)
    frame = expected.frame if expected is not None and expected.HasField("frame") else None
    view = None if frame is None else view_of(frame)
    try:
        decoded = decode(message, envelope)
    except FrameError:
        assert expected is None, "refused what protobuf reads"
    else:
        assert decoded is None or decoded == view
    parse = parse_request if envelope is Envelope.REQUEST else parse_response
    if expected is None:
        with pytest.raises(FrameError):
            parse(message)
    else:
        assert parse(message) == (expected if view is None else view)


@examples(800)
@given(messages, envelopes)
@example(b"", Envelope.REQUEST)
@example(b"\x02\x00", Envelope.REQUEST)
@example(b"\x12\x02\x02\x00", Envelope.REQUEST)
@example(b"\x12\x00", Envelope.REQUEST)
@example(b"\x12\x02\x08\x05\x12\x02\x10\x07", Envelope.REQUEST)
@example(b"\x12\x02\x08\x05\x12\x02\x08\x00", Envelope.REQUEST)
@example(b"\x12\x02\x08\x05\x0a\x00", Envelope.REQUEST)
@example(b"\x0a\x00\x12\x02\x08\x05", Envelope.REQUEST)
@example(b"\x12\x04\x3b\x08\x05\x3c", Envelope.REQUEST)
@example(b"\x12\x0b\x08" + b"\x85" + b"\x80" * 8 + b"\x7f", Envelope.REQUEST)
@example(b"\x12\x82" + b"\x80" * 8 + b"\x02\x08\x05", Envelope.REQUEST)
@example(b"\x12\x06\x10\x85\x80\x80\x80\x10", Envelope.REQUEST)
@example(b"\x12\x08\x10\x85\x80\x80\x80\x10\x78\x01", Envelope.REQUEST)
@example(b"\x22\x06\x22\x02\x22\x00\x08\x01", Envelope.RESPONSE)
@example(b"\x12\x04\x12\x02\x08\x01", Envelope.REQUEST)
def test_agrees_with_protobuf_on_messages(message: bytes, envelope: Envelope) -> None:
    assert_agrees_with_protobuf(message, envelope)


@examples(800)
@given(mutations(), envelopes)
def test_agrees_with_protobuf_on_mutations(message: bytes, envelope: Envelope) -> None:
    assert_agrees_with_protobuf(message, envelope)


@examples(400)
@given(st.binary(max_size=40), envelopes)
def test_agrees_with_protobuf_on_garbage(message: bytes, envelope: Envelope) -> None:
    assert_agrees_with_protobuf(message, envelope)


@given(uint64, uint32, uint64, st.binary(min_size=1, max_size=40), envelopes)
def test_every_truncation_is_refused(want: int, index: int, offset: int, data: bytes, envelope: Envelope) -> None:
    message = encode_frame(want, index, offset, data, envelope)
    for length in range(1, len(message)):
        with pytest.raises(FrameError, match="not a message"):
            decode(message[:length], envelope)


@given(st.permutations([b"\x08\x05", b"\x10\x06", b"\x18\x07", b"\x22\x01x", b"\x78\x01", b"\x7a\x02ab"]))
def test_fields_come_in_any_order_with_unknown_ones(parts: list[bytes]) -> None:
    message = field(2, 2, extent(b"".join(parts)))
    assert decode(message, Envelope.REQUEST) == FrameView(5, 6, 7, memoryview(b"x"))


def test_endless_integers_cost_nothing() -> None:
    with pytest.raises(FrameError):
        decode(b"\x12" + b"\xff" * (4 << 20), Envelope.REQUEST)
