"""The bytes of the bulk lane: what is written is read, and garbage is told from it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arraymill_proto.bulk import (
    HEADER_BYTES,
    HELLO_BYTES,
    SECRET_BYTES,
    Record,
    decode_header,
    decode_hello,
    encode_header,
    encode_hello,
    tune,
)
from arraymill_proto.checksums import checksum
from arraymill_proto.errors import CorruptedError, FrameError

LONG = st.integers(0, 2**64 - 1)
INDEX = st.integers(0, 2**32 - 1)
SECRETS = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


@given(LONG, INDEX, LONG, LONG, st.none() | LONG)
@example(2**64 - 1, 2**32 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1)
@example(0, 0, 0, 0, 0)
def test_headers_there_and_back(want: int, index: int, offset: int, length: int, checksum: int | None) -> None:
    record = Record(want, index, offset, length, checksum)
    header = encode_header(record)
    assert len(header) == HEADER_BYTES
    assert decode_header(header) == decode_header(bytearray(header)) == record
    assert record.end == offset + length


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_any_bytes_are_a_header_or_an_error(header: bytes) -> None:
    flags = int.from_bytes(header[-4:], "little")
    if flags <= 1:
        unchecked = header[:24] + bytes(8) + header[32:]
        assert encode_header(decode_header(header)) == (header if flags else unchecked)
    else:
        with pytest.raises(FrameError, match="does not begin with a header"):
            decode_header(header)


@given(st.binary(min_size=1, max_size=40))
def test_a_record_knows_its_bytes(data: bytes) -> None:
    Record(1, 0, 0, len(data), checksum(data)).verify(memoryview(data))
    Record(1, 0, 0, len(data)).verify(memoryview(data))
    with pytest.raises(CorruptedError):
        Record(1, 0, 0, len(data), checksum(data) ^ 1).verify(memoryview(data))


@given(SECRETS)
def test_hellos_there_and_back(secret: bytes) -> None:
    hello = encode_hello(secret)
    assert len(hello) == HELLO_BYTES
    assert decode_hello(hello) == secret


@given(st.binary(max_size=2 * HELLO_BYTES) | SECRETS.map(encode_hello))
@example(b"GET / HTTP/1.1\r\nHost: localhost:50051\r\n\r\n")
def test_any_bytes_are_a_hello_or_none(said: bytes) -> None:
    secret = decode_hello(said)
    assert said == (encode_hello(secret) if secret is not None else said)
    assert (secret is not None) == (len(said) == HELLO_BYTES and said[:8] == b"ambulk1\n")


@given(SECRETS, st.integers(0, 7), st.integers(1, 255))
def test_every_byte_of_the_first_word_counts(secret: bytes, place: int, change: int) -> None:
    hello = bytearray(encode_hello(secret))
    hello[place] ^= change
    assert decode_hello(bytes(hello)) is None


@given(SECRETS)
def test_a_hello_of_another_length_is_none(secret: bytes) -> None:
    assert decode_hello(encode_hello(secret)[:-1]) is None
    assert decode_hello(encode_hello(secret) + b"x") is None


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="this system has one congestion control")
@pytest.mark.parametrize("near", ["127.0.0.1", "127.0.0.2"])
def test_nothing_is_paced_within_one_host(near: str) -> None:
    """Another address of loopback stands for another host: it keeps what the machine has."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as far:
        far.bind((near, 0))
        before = far.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        if before.startswith(b"reno"):
            pytest.skip("reno is what this machine has anyway")
        far.connect(listening.getsockname())
        tune(far)
        assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        expected = b"reno" if near == "127.0.0.1" else before.rstrip(b"\0")
        assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == expected
