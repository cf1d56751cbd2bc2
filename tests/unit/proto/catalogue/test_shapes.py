"""Shape rules against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import axes, shapes

from arraymill_proto.catalogue import broadcast_shapes, check_shape, normalise_axes, reduced_shape
from arraymill_proto.errors import AxisError, ParameterError, ShapeError
from arraymill_proto.graph import Shape


@given(st.lists(shapes(max_side=3), max_size=4))
def test_broadcasts_as_numpy(listed: list[Shape]) -> None:
    try:
        expected = np.broadcast_shapes(*listed)
    except ValueError:
        with pytest.raises(ShapeError, match=r"could not be broadcast together with shapes \("):
            broadcast_shapes(*listed)
    else:
        assert broadcast_shapes(*listed) == expected


@given(st.data())
def test_reduces_as_numpy(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    axis = data.draw(axes(len(shape)))
    keepdims = data.draw(st.booleans())
    normal = normalise_axes(axis, len(shape))
    assert list(normal) == sorted(set(normal))
    assert reduced_shape(shape, normal, keepdims) == np.zeros(shape).sum(axis=axis, keepdims=keepdims).shape


@pytest.mark.parametrize(
    ("axis", "ndim", "words"),
    [
        (2, 2, "axis 2 is out of bounds for array of dimension 2"),
        (-3, 2, "axis -3 is out of bounds for array of dimension 2"),
        ((0, 7), 2, "axis 7 is out of bounds for array of dimension 2"),
        ((0,), 0, "axis 0 is out of bounds for array of dimension 0"),
        (1, 0, "axis 1 is out of bounds"),
        ((0, 0), 2, r"duplicate value in 'axis': \(0, 0\) names axis 0 twice"),
        ((1, -1), 2, r"duplicate value in 'axis': \(1, -1\) names axis 1 twice"),
        ((0,) * 33, 2, "33 axes are given"),
    ],
)
def test_refuses_axes(axis: int | tuple[int, ...], ndim: int, words: str) -> None:
    with pytest.raises(AxisError, match=words):
        normalise_axes(axis, ndim)


def test_lets_axis_0_through_for_arrays_without_dimensions() -> None:
    assert normalise_axes(0, 0) == normalise_axes(-1, 0) == normalise_axes((), 0) == normalise_axes(None, 0) == ()


@pytest.mark.parametrize("axis", [True, (0, False), 1.0, "0"])
def test_axes_are_integers(axis: int) -> None:
    with pytest.raises((ParameterError, TypeError), match="axis must be an integer"):
        normalise_axes(axis, 2)


@pytest.mark.parametrize(
    ("shape", "itemsize", "words"),
    [
        ((1,) * 33, 1, "33 dimensions: at most 32"),
        ((3, -1), 1, r"shape \(3, -1\) has a negative dimension"),
        ((2**62, 2), 1, "too big"),
        ((0, 2**64 - 1), 1, "too big"),
        ((2**40, 2**40, 0), 1, "too big"),
        ((2**60,), 16, "16 bytes per element is too big"),
        ((2**64 - 1,) * 32, 16, "too big"),
    ],
)
def test_refuses_shapes_that_no_array_has(shape: Shape, itemsize: int, words: str) -> None:
    with pytest.raises(ShapeError, match=words) as caught:
        check_shape(shape, itemsize)
    assert len(str(caught.value)) < 300


@given(shapes())
def test_accepts_shapes_of_arrays(shape: Shape) -> None:
    check_shape(shape, 16)
