"""Segments: sealed, without a name, gone with their last user."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

import pytest
from descriptors import held

from arraymill_proto.memory import SEALS
from arraymill_server.arena import segments as segments_module
from arraymill_server.arena.memory import SPAN_BYTES, Memory, base
from arraymill_server.arena.segments import MAX_NUMBER, Segment, Segments, create, map_segment

SIZE = 4 * mmap.PAGESIZE


@pytest.fixture
def segments() -> Iterator[Segments]:
    segments = Segments(Memory(bytearray(8)))
    yield segments
    for segment in list(segments):
        segments.remove(segment)


def test_a_file_is_there_as_a_whole_and_its_size_is_for_ever() -> None:
    fd = create(SIZE)
    try:
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
        assert os.fstat(fd).st_blocks * 512 == SIZE, "every page is taken"
        for change in (0, SIZE - 1, SIZE + mmap.PAGESIZE):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, change)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, -mmap.PAGESIZE, 1, SIZE + 1, SPAN_BYTES + mmap.PAGESIZE])
def test_odd_sizes_are_refused(size: int) -> None:
    before = held()
    with pytest.raises(OSError, match="a segment of"):
        create(size)
    assert held() == before


def test_tasks_can_name_what_is_added_until_it_is_removed(segments: Segments) -> None:
    told: list[tuple[str, Segment]] = []
    segments.on_add = lambda segment: told.append(("add", segment))
    segments.on_remove = lambda segment: told.append(("remove", segment))
    first, second = (segments.add(create(SIZE), SIZE) for _ in range(2))
    assert repr(segments) == f"<Segments: 2 of {2 * SIZE:,} bytes>"
    segments.space.bytes(second.address, 3)[:] = b"abc"
    assert second.memory[:3] == b"abc"
    assert first.memory[:3] == bytes(3)
    segments.remove(first)
    assert list(segments) == [second]
    assert segments.space.holding(first.address, first.address + 1) is None
    assert told == [("add", first), ("add", second), ("remove", first)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first.fd)
    third = segments.add(create(SIZE), SIZE)
    assert third.number not in {first.number, second.number}, "an address never means another memory"
    for segment in (first, second, third):
        segment.forget()


def test_numbers_are_used_again_when_all_have_been(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "MAX_NUMBER", 3)
    numbers: list[int] = []
    kept = segments.add(create(SIZE), SIZE)
    for _ in range(5):
        segment = segments.add(create(SIZE), SIZE)
        numbers.append(segment.number)
        segments.remove(segment)
    assert (kept.number, numbers) == (1, [2, 3, 2, 3, 2])
    assert base(MAX_NUMBER) + SPAN_BYTES < 1 << 61


def test_who_maps_it_shares_it(segments: Segments) -> None:
    segment = segments.add(create(SIZE), SIZE)
    client = map_segment(segment.fd, SIZE)
    client[-3:] = b"end"
    segments.remove(segment)
    assert segment.memory[-3:] == b"end"
