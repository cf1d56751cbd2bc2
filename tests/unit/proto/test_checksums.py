"""The checksum of array bytes, against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.checksums import checksum


@given(st.binary(max_size=100), st.integers(0, 8))
def test_is_the_sum_of_words(data: bytes, start: int) -> None:
    piece = data[start:]
    padded = piece + bytes(-len(piece) % 8)
    words = [int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8)]
    assert checksum(memoryview(data)[start:]) == sum(words) % 2**64


def test_carries_leave_at_the_top() -> None:
    assert checksum(b"\xff" * 16 + b"\x03") == 1
