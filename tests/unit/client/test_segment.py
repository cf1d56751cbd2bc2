"""Memory that a server shares, and the arrays that lie there."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

import arraymill as am
from arraymill._segment import Segment
from arraymill_proto.errors import InternalError
from arraymill_server.arena.segments import create

PAGE = mmap.PAGESIZE


def given() -> Segment:
    """Memory that a server has given; a fixture would hold it for longer than its test."""
    fd = create(PAGE)
    try:
        return Segment(7, fd, PAGE)
    finally:
        os.close(fd)


def test_all_of_it_is_an_array() -> None:
    segment = given()
    segment.bytes[:] = 3
    assert (segment.number, segment.bytes.size, segment.mapping[:2]) == (7, PAGE, b"\3\3")


def test_a_file_that_could_shrink_is_not_mapped(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(PAGE)
        with pytest.raises(InternalError, match="whose size it could change"):
            Segment(1, file.fileno(), PAGE)


def test_arrays_that_lie_there_are_told_from_others(tmp_path: Path) -> None:
    array = np.ndarray((8, 8), np.float64, given().bytes[:512])
    for view in (array, array.T, array[2:5, ::-1], array[0, 0, ...], array.view(np.uint8)):
        assert am.is_shared(view)
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(64,))
    for other in (np.ones(3), array.copy(), array + 1, mapped, mapped[3:], am.asarray(array), None, array[0, 0], b"x"):
        assert not am.is_shared(other)


def test_children_of_a_fork_share_it_too() -> None:
    segment = given()
    child = os.fork()
    if not child:
        segment.bytes[0] = 9
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert segment.bytes[0] == 9
