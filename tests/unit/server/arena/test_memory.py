"""One count of addresses over the arena and segments."""

from __future__ import annotations

import pytest

from arraymill_server.arena.memory import SPAN_BYTES, Memory, base


@pytest.fixture
def space() -> Memory:
    space = Memory(bytearray(b"arena"))
    space.add(1, bytearray(b"first"))
    space.add(7, bytearray(b"seventh"))
    return space


def test_every_range_lies_where_its_address_says(space: Memory) -> None:
    assert bytes(space.bytes(0, 5)) == b"arena"
    assert bytes(space.bytes(base(1) + 1, 3)) == b"irs"
    assert bytes(space.bytes(base(7), 7)) == b"seventh"
    assert base(7) - base(6) == SPAN_BYTES


def test_what_is_written_there_is_there(space: Memory) -> None:
    space.bytes(base(1), 2)[:] = b"BU"
    assert bytes(space.bytes(base(1), 5)) == b"BUrst"


@pytest.mark.parametrize(
    ("address", "length"),
    [
        *((-1, 1), (-1, 3), (0, 6), (5, 1), (4, 2), (0, -1), (3, -1), (0, 1 << 60)),
        *((base(1) - 1, 1), (base(1), 6), (base(1) + 5, 1), (base(1), -1), (base(2), 1)),
    ],
)
def test_what_lies_in_no_memory_is_refused(space: Memory, address: int, length: int) -> None:
    assert space.holding(address, address + length) is None
    with pytest.raises(ValueError, match="lie in no memory"):
        space.bytes(address, length)


def test_a_segment_that_is_removed_is_named_no_more(space: Memory) -> None:
    held = space.bytes(base(1), 5)
    space.remove(1)
    assert space.holding(base(1), base(1) + 1) is None
    assert bytes(held) == b"first", "who has it already is not harmed"
    assert repr(space) == "<Memory 5 bytes of arena, 1 segments>"
