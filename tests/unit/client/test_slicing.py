"""Basic slicing of leaves, as NumPy slices arrays."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import shapes
from unit.client.evaluate import value_of

from arraymill import Array, Handle, asarray
from arraymill._expression import Stored, expression_of
from arraymill._slicing import Key
from arraymill_proto.graph import ArrayType, Slice
from arraymill_proto.validate import sliced_type

FLOAT = np.dtype(float)


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Basic indices of an array: fewer entries than axes, an ellipsis anywhere, one entry without its tuple."""
    entries: list[Any] = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        entry: st.SearchStrategy[Any] = st.slices(length) | st.builds(slice, st.none(), st.none(), st.integers(-3, -1))
        if length:
            entry |= st.integers(-length, length - 1) | st.integers(0, length - 1).map(np.int16)
        entries.append(draw(entry))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(entries)))
        tail = len(entries) - at
        if tail == 0:
            entries.append(Ellipsis)
    return entries[0] if len(entries) == 1 and draw(st.booleans()) else tuple(entries)


def counting(shape: tuple[int, ...]) -> NDArray[Any]:
    return np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)


def handle(array: NDArray[Any]) -> Handle:
    return Handle("kept", ArrayType(array.shape, array.dtype))


@given(shapes(), st.data())
def test_a_slice_of_a_slice_is_numpys(shape: tuple[int, ...], data: st.DataObject) -> None:
    array = counting(shape)
    local: Array = asarray(array)
    stored: Array = handle(array)
    expected = array
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(keys(expected.shape))
        local, stored, expected = local[key], stored[key], np.asarray(expected[key])
        assert local.shape == stored.shape == expected.shape
        assert local.dtype == stored.dtype == expected.dtype
    (read,) = value_of(stored, kept={"kept": array})
    (sent,) = value_of(local)
    assert np.asarray(read).tolist() == np.asarray(sent).tolist() == expected.tolist()
    expression = expression_of(stored)
    assert isinstance(expression, Stored)
    assert sliced_type(ArrayType(array.shape, FLOAT), expression.slices).shape == expected.shape


@given(shapes(min_side=1).filter(bool), st.data())
def test_an_ellipsis_stands_for_all_axes_that_are_not_named(shape: tuple[int, ...], data: st.DataObject) -> None:
    array = counting(shape)
    front = data.draw(st.integers(0, len(shape)))
    back = data.draw(st.integers(0, len(shape) - front))
    key: tuple[Key, ...] = (*(0,) * front, Ellipsis, *(slice(None, None, -1),) * back)
    expected = np.asarray(array[cast("Any", key)])
    (read,) = value_of(handle(array)[key], kept={"kept": array})
    (sent,) = value_of(asarray(array)[key])
    assert np.asarray(read).tolist() == np.asarray(sent).tolist() == expected.tolist()


def test_a_slice_of_a_local_array_is_a_view() -> None:
    array = np.zeros((4, 4))
    part = asarray(array)[1:3, ::-1]
    array[1, 3] = 7
    assert value_of(part)[0][0, 0] == 7


def test_a_local_element_is_read_when_it_is_computed() -> None:
    array = np.zeros(3)
    element = asarray(array)[1]
    array[1] = 5
    assert element.shape == ()
    assert value_of(element) == [5]


def test_axes_that_are_taken_whole_are_not_sent() -> None:
    whole = handle(np.zeros((4, 5, 6)))
    for part in (whole[...], whole[:], whole[:, :], whole[0:4, 0:9]):
        expression = expression_of(part)
        assert isinstance(expression, Stored)
        assert expression.slices == ()
    taken = expression_of(whole[:, 1])
    assert isinstance(taken, Stored)
    assert taken.slices == (Slice(0, 1, 4), Slice(1, 1, 1, drop=True))


def test_steps_beyond_64_bits_never_reach_the_wire() -> None:
    part = expression_of(handle(np.zeros(5))[2 :: 1 << 70])
    assert isinstance(part, Stored)
    assert part.slices == (Slice(2, 1, 1),)


@pytest.mark.parametrize("make", [asarray, handle])
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((0, 0, 0), "too many indices"),
        (4, "index 4 is out of bounds for axis 0 with size 4"),
        ((slice(None), -6), "index -6 is out of bounds for axis 1 with size 5"),
        ((Ellipsis, Ellipsis), "single ellipsis"),
    ],
)
def test_an_index_that_numpy_refuses_is_refused_with_its_words(make: Any, key: Any, message: str) -> None:
    array = counting((4, 5))
    with pytest.raises(IndexError, match=message):
        make(array)[key]
    with pytest.raises(IndexError):
        array[key]


@pytest.mark.parametrize("make", [asarray, handle])
@pytest.mark.parametrize("key", [None, True, 1.0, "x", [0, 1], np.array([0, 1]), np.array([True] * 4), (0, None)])
def test_only_basic_slicing_is_done(make: Any, key: Any) -> None:
    with pytest.raises(TypeError, match="only integers, slices and an ellipsis can index"):
        make(counting((4, 5)))[key]


def test_a_result_cannot_be_sliced() -> None:
    with pytest.raises(TypeError, match="this is the result of add: slice its operands, or compute it first"):
        (asarray(counting((4, 5))) + 1)[0]
