"""The receiving half of a job: frames in any order, and everything that a client can do wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.bulk import Record
from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView
from arraymill_proto.limits import FRAME_BYTES
from arraymill_server.jobs.wants import MAX_PIECES, Wants
from arraymill_server.plan.model import Wanted

TOKEN = 7


def opened(nbytes: int, offset: int = 0) -> tuple[Wants, bytearray]:
    """Wants of one input with one want open, and its memory."""
    wants = Wants((offset + nbytes,))
    target = bytearray(nbytes)
    assert wants.open(Wanted(0, offset, nbytes, (0,)), memoryview(target), TOKEN) == 1
    return wants, target


def frame(offset: int, data: bytes, want: int = 1, index: int = 0) -> FrameView:
    return FrameView(want, index, offset, memoryview(data))


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5), st.randoms(use_true_random=False))
def test_frames_in_any_order_and_twice(data: bytes, size: int, offset: int, random: Random) -> None:
    wants, target = opened(len(data), offset)
    frames = [frame(offset + at, data[at : at + size]) for at in range(0, len(data), size)]
    random.shuffle(frames)
    tokens: list[int | None] = []
    for place, each in enumerate(frames):
        tokens.append(wants.accept(each))
        assert wants.accept(frames[random.randint(0, place)]) is None
    assert tokens == [None] * (len(frames) - 1) + [TOKEN]
    assert bytes(target) == data
    assert wants.received_bytes == len(data)
    assert wants.missing() is None


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 5)), max_size=12))
def test_ranges_are_held_against_single_bytes(ranges: list[tuple[int, int]]) -> None:
    wants, _ = opened(20)
    came: set[int] = set()
    for start, size in ranges:
        covers = set(range(start, start + size))
        if came & covers and not covers <= came:
            with pytest.raises(FrameError, match="overlaps"):
                wants.accept(frame(start, bytes(size)))
            return
        wants.accept(frame(start, bytes(size)))
        came |= covers
        assert wants.received_bytes == len(came)


def test_a_scattered_want_is_refused_after_so_many_pieces() -> None:
    wants, _ = opened(4 * MAX_PIECES)
    for place in range(MAX_PIECES):
        wants.accept(frame(2 * place, b"x"))
    wants.accept(frame(1, b"x"))  # joins two: there is room for one more
    wants.accept(frame(2 * MAX_PIECES, b"x"))
    with pytest.raises(FrameError, match=rf"more than {MAX_PIECES} pieces .*\({MAX_PIECES + 2} of {4 * MAX_PIECES} by"):
        wants.accept(frame(2 * MAX_PIECES + 2, b"x"))


def test_a_frame_above_the_limit_is_refused() -> None:
    wants, _ = opened(2 * FRAME_BYTES)
    assert wants.accept(frame(0, bytes(FRAME_BYTES))) is None
    with pytest.raises(FrameError, match="1,048,577 bytes of data; the server takes at most 1,048,576"):
        wants.accept(frame(FRAME_BYTES - 1, bytes(FRAME_BYTES + 1)))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (frame(0, b"x", index=1), "names input 1; the job has 1 inputs"),
        (frame(25, b"x"), "ends at byte 26 of input 0, which has 25"),
        (frame(5, b"x", want=2), "want 2, which the server has not asked for; the last one is 1"),
        (frame(5, b"x", want=0), "want 0"),
        (frame(4, b"xy"), "bytes 4 to 6 leaves want 1, which asked for 5 to 25"),
    ],
)
def test_frames_that_fit_nothing(bad: FrameView, text: str) -> None:
    wants, target = opened(20, offset=5)
    with pytest.raises(FrameError, match=text):
        wants.accept(bad)
    assert bytes(target) == bytes(20)


def test_an_input_for_the_want_of_another() -> None:
    wants = Wants((4, 4))
    wants.open(Wanted(1, 0, 4, (0,)), memoryview(bytearray(4)), TOKEN)
    with pytest.raises(FrameError, match="brings input 0 for want 1, which asked for input 1"):
        wants.accept(frame(0, b"abcd"))


def test_what_is_missing() -> None:
    wants, _ = opened(10)
    wants.accept(frame(0, b"abc"))
    wants.accept(frame(8, b"z"))
    wants.accept(frame(8, b""))
    error = wants.missing()
    assert error is not None
    assert error.details == {"want": "1", "input": "0", "wanted_bytes": "10", "received_bytes": "4"}
    assert repr(wants) == "<Wants 1 open of 1 | 4 bytes received>"
    wants.close()
    assert wants.missing() is None


# ------------------------------------------------------------------ records, which arrive bit by bit


def record(offset: int, length: int, want: int = 1, index: int = 0) -> Record:
    return Record(want, index, offset, length)


def test_a_record_counts_when_it_has_arrived() -> None:
    wants, target = opened(10, offset=5)
    place = wants.claim(record(5, 10))
    assert place is not None
    place[:] = b"0123456789"
    assert wants.received_bytes == 0
    assert wants.arrived(record(5, 10)) == TOKEN
    assert (wants.received_bytes, bytes(target)) == (10, b"0123456789")


def test_a_want_is_not_complete_while_a_record_still_arrives() -> None:
    wants, _ = opened(10)
    assert wants.claim(record(2, 3)) is not None
    assert wants.accept(frame(0, b"01")) is None
    assert wants.accept(frame(5, b"56789")) is None
    assert wants.accept(frame(2, b"234")) is None, "the same bytes again, which do not lie there yet"
    assert wants.arrived(record(2, 3)) == TOKEN


def test_a_record_may_be_longer_than_a_frame() -> None:
    wants, _ = opened(3 * FRAME_BYTES)
    assert wants.claim(record(0, 3 * FRAME_BYTES)) is not None


def test_what_nobody_needs_has_no_place() -> None:
    wants, _ = opened(4)
    assert wants.claim(record(4, 0)) is None
    assert wants.accept(frame(0, b"abcd")) == TOKEN
    assert wants.claim(record(0, 4)) is None
    wants, _ = opened(4)
    assert wants.accept(frame(0, b"ab")) is None
    assert wants.claim(record(0, 2)) is None


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (record(5, 1, index=1), "names input 1; the job has 1 inputs"),
        (record(5, 21), "ends at byte 26 of input 0, which has 25"),
        (record(5, 2**63), "of input 0, which has 25"),
        (record(2**64 - 1, 2**64 - 1), "of input 0, which has 25"),
        (record(5, 1, want=2), "want 2, which the server has not asked for; the last one is 1"),
        (record(5, 1, want=0), "want 0"),
        (record(4, 2), "bytes 4 to 6 leaves want 1, which asked for 5 to 25"),
    ],
)
def test_records_that_fit_nothing(bad: Record, text: str) -> None:
    wants, _ = opened(20, offset=5)
    with pytest.raises(FrameError, match=text):
        wants.claim(bad)
    assert wants.claim(record(5, 20)) is not None, "nothing of it was noted"


def test_records_that_overlap_what_still_arrives() -> None:
    wants, _ = opened(20)
    assert wants.claim(record(5, 5)) is not None
    for bad in (record(0, 6), record(9, 2), record(4, 8)):
        with pytest.raises(FrameError, match="overlaps what came before"):
            wants.claim(bad)
    with pytest.raises(FrameError, match="overlaps what came before"):
        wants.accept(frame(4, b"xx"))


def test_what_is_missing_of_open_wants_is_asked_for_again() -> None:
    wants = Wants((30,))
    ranges = [Wanted(0, offset, 10, (0,)) for offset in (0, 10, 20)]
    targets = [bytearray(10) for _ in ranges]
    for token, (wanted, target) in enumerate(zip(ranges, targets, strict=True)):
        wants.open(wanted, memoryview(target), token)
    assert wants.accept(frame(0, b"0123456789")) == 0
    assert wants.accept(frame(10, b"01", want=2)) is None
    assert wants.claim(record(12, 8, want=2)) is not None
    assert wants.received_bytes == 12
    assert wants.reopen() == [(4, Wanted(0, 12, 8, (0,))), (5, ranges[2])], "what came without a gap stays"
    assert wants.received_bytes == 12
    for late in (frame(12, b"23456789", want=2), frame(20, b"0123456789", want=3)):
        assert wants.accept(late) is None, "on its way when the connection broke"
    assert wants.claim(record(12, 8, want=2)) is None
    assert (wants.received_bytes, bytes(targets[2])) == (12, bytes(10))
    assert wants.accept(frame(12, b"23456789", want=4)) == 1
    assert bytes(targets[1]) == b"0123456789"
    assert wants.accept(frame(20, b"9876543210", want=5)) == 2
    assert (wants.received_bytes, bytes(targets[2])) == (30, b"9876543210")
    assert wants.reopen() == []
