"""Regions of contiguous memory, and buffers."""

from __future__ import annotations

import numpy as np
import pytest

from arraymill_server.plan.program import Region
from arraymill_server.plan.regions import Buffers, contiguous, parts


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (1, 5)])
def test_contiguous_regions_have_numpys_strides(shape: tuple[int, ...]) -> None:
    assert contiguous(640, shape, 8) == Region(640, shape, np.empty(shape).strides)


def test_parts_follow_each_other_with_room_for_the_largest_block() -> None:
    count, mean = parts(0, (1, 3), [np.dtype(np.int64), np.dtype(np.complex128)], 9)
    assert count == Region(0, (1, 3), (24, 8))
    assert mean == Region(128, (1, 3), (48, 16))


def test_buffers_are_taken_and_given_back() -> None:
    buffers = Buffers(4, first=1)
    taken = [buffers.take() for _ in range(3)]
    assert sorted(taken) == [1, 2, 3]
    assert buffers.take_nowait() is None
    buffers.give(2)
    assert buffers.take_nowait() == 2
