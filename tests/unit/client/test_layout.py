"""How elements lie in memory, and how ranges of them are cut into boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import Array, arrays, shapes

from arraymill._layout import boxes, flat_bytes, in_order, preferred_order


@given(arrays())
def test_the_preferred_order_walks_memory_with_falling_strides(array: Array) -> None:
    order = preferred_order(array)
    assert order is None or sorted(order) == list(range(array.ndim))
    view = array.transpose(order or tuple(range(array.ndim)))
    steps = [abs(stride) for stride, length in zip(view.strides, view.shape, strict=True) if length > 1 and stride]
    assert array.size == 0 or steps == sorted(steps, reverse=True)


@given(shapes(min_side=1), st.data())
def test_what_is_contiguous_in_some_order_of_axes_is_contiguous_in_the_preferred_one(
    shape: tuple[int, ...], data: st.DataObject
) -> None:
    axes = data.draw(st.permutations(range(len(shape))))
    array = np.empty([shape[axis] for axis in axes]).transpose(np.argsort(axes) if axes else None)
    assert array.shape == shape
    assert flat_bytes(in_order(array, preferred_order(array))) is not None


def test_the_c_order_needs_no_word() -> None:
    assert preferred_order(np.empty((3, 4))) is None
    assert preferred_order(np.empty(())) is None
    assert preferred_order(np.empty((3, 0)).T) is None
    assert preferred_order(np.empty((4, 3)).T) == (1, 0)
    assert preferred_order(np.empty((5, 3, 4)).transpose(1, 2, 0)) == (2, 0, 1)


def test_axes_that_do_not_move_in_memory_keep_their_places() -> None:
    assert preferred_order(np.broadcast_to(np.empty((3, 1)), (3, 4))) is None
    assert preferred_order(np.broadcast_to(np.empty((5, 3)).T[:, None], (3, 2, 5))) == (2, 1, 0)
    assert preferred_order(np.empty((1, 4, 3)).transpose(1, 0, 2)) is None


def test_flat_bytes_are_the_memory_itself() -> None:
    array = np.arange(6, dtype=">u2").reshape(2, 3)
    flat = flat_bytes(array)
    assert flat is not None
    array[0, 1] = 0x0102
    assert bytes(flat[2:4]) == b"\1\2"
    assert flat_bytes(array[:, ::2]) is None
    assert flat_bytes(array[:0]) is not None


@given(arrays(shape=shapes(min_side=1).filter(bool)), st.data())
def test_boxes_are_views_that_hold_the_range_in_c_order(array: Array, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, array.size - 1))
    stop = data.draw(st.integers(start + 1, array.size))
    cut = list(boxes(array, start, stop))
    assert len(cut) <= 2 * array.ndim - 1
    at = 0
    for place, box in cut:
        assert place == at
        assert np.shares_memory(box, array)
        at += box.size
    joined = b"".join(box.tobytes() for _, box in cut)
    assert joined == array.tobytes()[start * array.itemsize : stop * array.itemsize]
