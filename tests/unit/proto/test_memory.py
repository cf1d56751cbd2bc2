"""Messages of the same-host lane, however their bytes arrive, and the seals of its memory."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.errors import FrameError
from arraymill_proto.memory import MESSAGE_BYTES, SEALS, MessageFeed, encode_message, is_sealed
from arraymill_proto.v1 import memory_pb2 as pb

SIZE = 2 * mmap.PAGESIZE

MESSAGES = [
    pb.MemoryRequest(),
    pb.MemoryRequest(release=pb.Release(segment=2)),
    pb.MemoryRequest(filled=pb.Filled(job=1 << 63, want=3)),
    pb.MemoryRequest(allocate=pb.Allocate(request=1, nbytes=1 << 40)),
]
LONGEST = pb.MemoryResponse(refused=pb.Refused(message="x" * (MESSAGE_BYTES - 6)))


@given(st.lists(st.sampled_from([*MESSAGES, LONGEST]), max_size=6), st.data())
def test_messages_are_the_same_however_their_bytes_are_cut(
    messages: list[pb.MemoryRequest], data: st.DataObject
) -> None:
    stream = b"".join(map(encode_message, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    feed, found = MessageFeed(), list[bytes]()
    for start, end in pairwise([0, *cuts, len(stream)]):
        found += feed.feed(stream[start:end])
    assert found == [message.SerializeToString() for message in messages]
    assert feed.feed(b"") == []


def test_byte_by_byte() -> None:
    feed = MessageFeed()
    stream = b"".join(map(encode_message, MESSAGES))
    came = [feed.feed(stream[at : at + 1]) for at in range(len(stream))]
    assert [len(messages) for messages in came].count(1) == len(MESSAGES)
    assert [message for messages in came for message in messages] == [
        message.SerializeToString() for message in MESSAGES
    ]


def test_the_length_is_checked_before_anything_is_waited_for() -> None:
    assert len(LONGEST.SerializeToString()) == MESSAGE_BYTES
    assert len(MessageFeed().feed(encode_message(LONGEST))) == 1
    for length in (MESSAGE_BYTES + 1, (1 << 32) - 1):
        with pytest.raises(FrameError, match=f"claims {length:,} bytes; the most are 16,384"):
            MessageFeed().feed(length.to_bytes(4, "big"))
    feed, header = MessageFeed(), (MESSAGE_BYTES + 1).to_bytes(4, "big")
    assert feed.feed(header[:3]) == []
    with pytest.raises(FrameError):
        feed.feed(header[3:])


@contextmanager
def memory(size: int, seals: int) -> Generator[int]:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        yield fd
    finally:
        os.close(fd)


def test_memory_is_sealed_if_all_seals_are_there_and_it_is_large_enough() -> None:
    with memory(SIZE, SEALS) as fd:
        assert is_sealed(fd, SIZE)
        assert is_sealed(fd, SIZE - 1)
        assert not is_sealed(fd, SIZE + 1)


@pytest.mark.parametrize("lacking", [fcntl.F_SEAL_SEAL, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW])
def test_one_seal_less_is_none(lacking: int) -> None:
    with memory(SIZE, SEALS & ~lacking) as fd:
        assert not is_sealed(fd, SIZE)


def test_what_is_no_memory_is_not_sealed() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert not is_sealed(reading, 0)
    os.close(reading)
    assert not is_sealed(reading, 0), "it is closed"
