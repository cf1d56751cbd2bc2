"""Ranges of an array's bytes as frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import Array, arrays

from arraymill._layout import preferred_order
from arraymill._source import ArraySource
from arraymill_proto.errors import InternalError
from arraymill_proto.graph import Order


def orders(array: Array) -> st.SearchStrategy[Order | None]:
    """Orders of an array's axes: none, its own, any."""
    every = st.permutations(range(array.ndim)).map(tuple)
    return st.sampled_from([None, preferred_order(array)]) | every


@given(arrays(), st.data())
def test_frames_hold_exactly_the_range_in_the_order_that_was_asked_for(array: Array, data: st.DataObject) -> None:
    order = data.draw(orders(array))
    source = ArraySource(array, order)
    wanted = (array.transpose(order) if order else array).tobytes()
    assert source.nbytes == len(wanted)
    for _ in range(2):
        offset = data.draw(st.integers(0, len(wanted)))
        length = data.draw(st.integers(0, len(wanted) - offset))
        frame_bytes = data.draw(st.integers(1, 40))
        at = offset
        for begin, frame in source.frames(offset, length, frame_bytes):
            assert begin == at
            assert 0 < len(frame) <= frame_bytes
            assert bytes(frame) == wanted[at : at + len(frame)]
            at += len(frame)
        assert at == offset + length


def test_frames_of_contiguous_memory_are_views_of_it() -> None:
    array = np.arange(1000.0).reshape(10, 100)
    for source in (ArraySource(array), ArraySource(array.T, (1, 0)), ArraySource(array[3:5])):
        assert not source.is_gathered
        for _, frame in source.frames(16, 1000, 256):
            assert np.shares_memory(np.frombuffer(frame, np.uint8), array)


def test_a_strided_array_is_gathered_into_one_buffer_of_frame_size() -> None:
    array = np.arange(1 << 16)[::2]
    source = ArraySource(array)
    assert source.is_gathered
    frames = [np.frombuffer(frame, np.uint8) for _, frame in source.frames(0, source.nbytes, 4096)]
    assert len(frames) == 64
    assert all(np.shares_memory(frame, frames[0]) for frame in frames)


def test_elements_larger_than_a_frame_are_cut() -> None:
    array = np.arange(7, dtype=np.complex128)[::-1]
    joined = b"".join(bytes(frame) for _, frame in ArraySource(array).frames(0, array.nbytes, 3))
    assert joined == array.tobytes()


def test_a_read_only_file_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(24.0).reshape(4, 6))
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    for view in (array, array.T, array[::-1, ::3]):
        source = ArraySource(view)
        assert b"".join(bytes(frame) for _, frame in source.frames(0, source.nbytes, 20)) == view.tobytes()


def test_what_is_written_before_a_frame_is_read_is_sent() -> None:
    array = np.zeros((4, 4))
    for view in (array, array[:, ::2]):
        frames = ArraySource(view).frames(0, view.nbytes, 32)
        array[...] = 0
        next(frames)
        array[...] = 1
        assert np.frombuffer(next(frames)[1])[0] == 1


@pytest.mark.parametrize(("offset", "length"), [(0, 25), (24, 1), (25, 0), (1 << 63, 1 << 63)])
def test_a_range_beyond_the_array_was_never_offered(offset: int, length: int) -> None:
    source = ArraySource(np.zeros(3))
    with pytest.raises(InternalError, match=rf"bytes {offset} to {offset + length} of an input of 24 bytes"):
        list(source.frames(offset, length, 8))
