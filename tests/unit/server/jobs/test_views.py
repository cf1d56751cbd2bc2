"""Slices of resident arrays are NumPy's slices, without a copy."""

from __future__ import annotations

from ctypes import c_ubyte

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes, slices

from arraymill_proto.graph import ArrayType, Order, Shape, Slice
from arraymill_server.arena.arena import Arena
from arraymill_server.jobs.residents import ResidentArray
from arraymill_server.jobs.views import view_of

ARENA = Arena((c_ubyte * (1 << 16))())


def resident(shape: Shape, order: Order) -> tuple[ResidentArray, np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
    """An array that counts its elements in C order, its axes in memory in another one."""
    kind = ArrayType(shape, np.dtype(np.int16))
    lease = ARENA.lease(max(1, kind.nbytes), "array", top=True)
    assert lease is not None
    array = ResidentArray("id", "", kind, order, lease, 1.0, 1, 0.0, 0.0)
    values = np.arange(kind.size, dtype=np.int16).reshape(shape)
    stored = np.ascontiguousarray(values.transpose(order)).tobytes()
    ARENA.memory[lease.offset : lease.offset + len(stored)] = stored
    return array, values


def pick(values: np.ndarray[tuple[int, ...], np.dtype[np.int16]], pieces: list[Slice]) -> object:
    """Take the elements of normalised slices one by one."""
    for axis, piece in enumerate(pieces):
        values = values.take([piece.start + k * piece.step for k in range(piece.length)], axis)
    dropped = tuple(axis for axis, piece in enumerate(pieces) if piece.drop)
    return np.squeeze(values, dropped)


@given(st.data(), shapes(max_dims=3, max_side=5))
def test_views_are_numpys_slices(data: st.DataObject, shape: Shape) -> None:
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    pieces = [data.draw(slices(length)) for length in shape][: data.draw(st.integers(0, len(shape)))]
    array, values = resident(shape, order)
    with array.lease:
        view = view_of(array, pieces)
        expected = np.asarray(pick(values, pieces))
        assert view.shape == expected.shape
        assert view.dtype == np.int16
        if expected.size:
            seen = np.ndarray(view.shape, view.dtype, ARENA.memory, view.offset, view.strides)
            np.testing.assert_array_equal(seen, expected)
