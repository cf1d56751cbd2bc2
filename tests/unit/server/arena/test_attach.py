"""The worker's side: bytes and views."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from arraymill_server.arena.attach import attach, view


def test_attached_bytes_are_the_array_itself() -> None:
    raw = (ctypes.c_ubyte * 64)()
    memory = attach(raw)
    memory[3:7] = b"mill"
    assert bytes(raw[3:7]) == b"mill"
    assert (memory.nbytes, memory.format, memory.readonly) == (64, "B", False)


def test_views_share_memory_in_any_layout() -> None:
    memory = attach((ctypes.c_ubyte * 64)())
    whole = view(memory, 0, (2, 4), None, "<f8")
    whole[...] = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(view(memory, 0, (4, 2), (8, 32), "<f8"), whole.T)
    np.testing.assert_array_equal(view(memory, 56, (8,), (-8,), "<f8"), whole.ravel()[::-1])
    np.testing.assert_array_equal(view(memory, 8, (3, 2), (0, 8), "<f8"), [[1, 2]] * 3)
    assert view(memory, 0, (), None, ">i2").dtype == np.dtype(">i2")
    assert view(memory, 64, (0, 5), None, "<f8").size == 0


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(8, (8,), None), (0, (9,), None), (0, (2,), (-8,)), (0, (2,), (64,)), (-8, (1,), None), (65, (0,), None)],
)
def test_a_view_never_leaves_its_memory(offset: int, shape: tuple[int, ...], strides: tuple[int, ...] | None) -> None:
    memory = attach((ctypes.c_ubyte * 64)())
    with pytest.raises((ValueError, TypeError)):
        view(memory, offset, shape, strides, "<f8")
