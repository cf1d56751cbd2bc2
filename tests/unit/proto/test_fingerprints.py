"""The fingerprint of an array, against its definition and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arraymill_proto.fingerprints import BLOCK_BYTES, Fingerprint

MODULUS = 2**64


def fingerprint(data: bytes, piece: int = BLOCK_BYTES) -> int:
    taken = Fingerprint(len(data))
    for at in range(0, len(data), piece):
        taken.add(data[at : at + piece])
    return taken.value()


def mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % MODULUS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % MODULUS
    return z ^ (z >> 31)


def by_definition(data: bytes) -> int:
    """What proto/DESIGN.md says, word by word."""
    value = len(data)
    for start in range(0, len(data), 65536):
        block = data[start : start + 65536]
        block += bytes(-len(block) % 8)
        total = 0
        for k in range(len(block) // 8):
            word = int.from_bytes(block[8 * k : 8 * k + 8], "little")
            factor = mix((k + 1) * 0x9E3779B97F4A7C15 % MODULUS) // 65536 * 65536 + 2 * k + 1
            total += (word ^ (word >> 29)) * factor
        value = mix(value ^ (total % MODULUS))
    return value or 1


def noise(nbytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(nbytes)


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(8))
@example(b"\xff" * 64)
def test_is_what_the_contract_says(data: bytes) -> None:
    assert fingerprint(data) == by_definition(data)


@pytest.mark.parametrize("nbytes", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 12])
def test_blocks(nbytes: int) -> None:
    data = noise(nbytes)
    assert fingerprint(data) == fingerprint(data, 4 * BLOCK_BYTES) == by_definition(data)


SIZES = st.integers(1, 3 * BLOCK_BYTES)


@given(SIZES, st.data())
def test_one_changed_byte(nbytes: int, data: st.DataObject) -> None:
    before = bytearray(noise(nbytes))
    place, change = data.draw(st.integers(0, nbytes - 1)), data.draw(st.integers(1, 255))
    after = bytearray(before)
    after[place] ^= change
    assert fingerprint(bytes(before)) != fingerprint(bytes(after))


VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 0.5, 256.0, float("inf"), float("nan"), 1e300])


@given(
    dtype=st.sampled_from(["f8", ">f8", "f4", "f2", "i8", "i4", "u1", "c8", "c16"]),
    count=st.integers(2, 3 * BLOCK_BYTES // 8),
    fill=st.integers(0, 3),
    values=st.tuples(VALUES, VALUES),
    data=st.data(),
)
def test_two_elements_that_changed_places(
    dtype: str, count: int, fill: int, values: tuple[float, float], data: st.DataObject
) -> None:
    """Of all dtypes, wherever they are: next to each other, or blocks apart."""
    array = np.full(count, fill, dtype)
    first = data.draw(st.integers(0, count - 1))
    second = data.draw(st.integers(0, count - 1).filter(lambda place: place != first))
    with np.errstate(all="ignore"):
        array[first], array[second] = np.array(values).astype(dtype)
    other = array.copy()
    other[first], other[second] = array[second], array[first]
    is_same = array.tobytes() == other.tobytes()
    assert (fingerprint(array.tobytes()) == fingerprint(other.tobytes())) == is_same


def test_every_place_of_a_block_counts_apart() -> None:
    """Floats of few digits differ in high bits only."""
    zeros = np.zeros(BLOCK_BYTES // 8)
    seen = set[int]()
    for place in range(len(zeros)):
        zeros[place] = 1.0
        seen.add(fingerprint(zeros.tobytes()))
        zeros[place] = 0.0
    assert len(seen) == len(zeros)


def test_blocks_that_changed_places() -> None:
    first, second = noise(BLOCK_BYTES, 1), noise(BLOCK_BYTES, 2)
    zeros = bytes(BLOCK_BYTES)
    values = {fingerprint(b"".join(blocks)) for blocks in [(first, second), (second, first), (first, zeros)]}
    values |= {fingerprint(b"".join(blocks)) for blocks in [(zeros, first), (zeros, zeros), (zeros, zeros, zeros)]}
    assert len(values) == 6


def test_bytes_that_do_not_fit() -> None:
    taken = Fingerprint(BLOCK_BYTES + 8)
    assert repr(taken) == "<Fingerprint of 65,544 bytes: 0 taken>"
    with pytest.raises(ValueError, match="bytes are missing"):
        taken.value()
    with pytest.raises(ValueError, match="65545 more bytes do not fit"):
        taken.add(bytes(BLOCK_BYTES + 9))
    taken.add(bytes(8))
    with pytest.raises(ValueError, match="65536 more bytes do not fit"):
        taken.add(bytes(BLOCK_BYTES))
