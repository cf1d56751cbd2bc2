"""Samples of expressions: valid, of about the wanted size, and NumPy's answer to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from unit.client.evaluate import value_of

from arraymill import Array, Handle, asarray
from arraymill._advise_sample import FIRST_BYTES, evaluate, extent, halved, sample, time_numpy, walk
from arraymill._expression import Expression, Local, Stored, expression_of
from arraymill._graph import build
from arraymill_proto.errors import ArraymillError, ComputationError, ParameterError
from arraymill_proto.graph import ArrayType

LENGTHS = (1, 2, 7, 60, 300)
X = np.linspace(1.0, 2.0, 60 * 300).reshape(60, 300)

OPERATIONS: tuple[Callable[[Array, Any], Any], ...] = (
    lambda x, y: x + y,
    lambda x, y: x * y,
    np.maximum,
    lambda x, y: x < y,
    lambda x, _: np.sqrt(x),
    lambda x, _: -x,
    lambda x, _: x.sum(axis=0),
    lambda x, _: x.mean(axis=-1, keepdims=True),
    lambda x, _: x.std(),
    lambda x, _: x.max(axis=0, where=x > 0, initial=0),
    lambda x, _: x.cumsum(axis=0),
    lambda x, _: x.argmax(axis=0),
    lambda x, y: np.where(x > 1, x, y),
    lambda x, y: x.clip(min=0, max=y),
    lambda x, _: np.modf(x)[1],
    lambda x, _: x.astype("f4").round(1),
)


def handle(*shape: int) -> Handle:
    return Handle(f"there {shape}", ArrayType(shape, np.dtype(np.float64)))


@st.composite
def expressions(draw: st.DrawFn) -> Array:
    """Arrays here and on the server, and operations of all kinds on what fits."""
    shapes = st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=3).map(tuple)
    known: list[Array] = []
    for shape in draw(st.lists(shapes, min_size=1, max_size=3)):
        data = np.full(shape, 1.5, draw(st.sampled_from(["f8", "f4", "i2", ">f8"])))
        known.append(asarray(np.asfortranarray(data)) if draw(st.booleans()) else handle(*shape))
    for _ in range(draw(st.integers(1, 6))):
        x, y = draw(st.sampled_from(known)), draw(st.sampled_from([*known, 2, 2.5]))
        try:
            known.append(draw(st.sampled_from(OPERATIONS))(x, y))
        except ArraymillError:  # their shapes do not fit
            continue
    return known[-1]


@given(expressions(), st.sampled_from([16, 4096, 100_000, 3_000_000]))
def test_samples_are_valid_and_of_about_the_wanted_size(array: Array, wanted: int) -> None:
    expression = expression_of(array)
    cut = sample(expression, wanted)
    leaves = [node for node in walk(cut) if isinstance(node, (Local, Stored))]
    assert all(isinstance(leaf, Local) for leaf in leaves), "a sample is of this process"
    assert (cut.type.ndim, cut.type.dtype) == (expression.type.ndim, expression.type.dtype)
    lengths = {length for leaf in leaves for length in leaf.type.shape}
    assert extent(cut).touched_bytes <= 2 * wanted or lengths == {1}
    (value,) = evaluate(build([cut]))
    assert np.shape(value) == cut.type.shape
    assert np.asarray(value).dtype.newbyteorder("=") == cut.type.dtype


@given(expressions())
def test_numpy_here_gives_the_right_answer(array: Array) -> None:
    cut = sample(expression_of(array), 5000)
    (expected,) = value_of(Array(cut))
    (value,) = evaluate(build([cut]))
    np.testing.assert_array_equal(value, expected)


def data_of(expression: Expression) -> NDArray[Any]:
    (leaf,) = (node for node in walk(expression) if isinstance(node, Local))
    return leaf.data


def quarter(x: NDArray[Any]) -> NDArray[Any]:
    """What is taken of an array for a quarter of its sum."""
    expression = expression_of(asarray(x).sum())
    return data_of(sample(expression, extent(expression).touched_bytes // 4))


def test_samples_are_cut_from_the_array_in_its_order() -> None:
    rows = quarter(X)
    np.testing.assert_array_equal(rows, X[:, :75])
    assert rows.flags.c_contiguous, "of rows of 75, and not of 300"
    assert quarter(np.asfortranarray(X)).flags.f_contiguous
    assert not quarter(X[:, ::2]).flags.forc, "what is slow to read stays so"
    assert np.shares_memory(quarter(X.reshape(-1)), X), "nothing is copied that need not be"


def test_samples_grow_where_arrays_are_small() -> None:
    grown = sample(expression_of(asarray(np.zeros(3)) + 1), 1 << 20)
    assert (1 << 18) <= extent(grown).touched_bytes <= 1 << 21
    assert (data_of(grown) == 1).all()


def test_a_huge_array_is_not_touched() -> None:
    """1 TiB of address space, of which a sample reads a little."""
    huge = np.broadcast_to(np.ones((1, 1 << 17)), (1 << 20, 1 << 17))
    cut = sample(expression_of((asarray(huge) * 2).sum(axis=1)), 1 << 20)
    assert extent(cut).touched_bytes <= 1 << 21
    assert evaluate(build([cut]))[0].shape == cut.type.shape


def test_broadcasts_are_counted_by_their_values() -> None:
    outer = asarray(np.ones((3000, 1))) + asarray(np.ones((1, 5000)))
    assert extent(expression_of(outer)).touched_bytes == 8 * (3000 + 5000 + 3000 * 5000)
    assert extent(sample(expression_of(outer), 1 << 20)).touched_bytes <= 1 << 21


def test_what_stays_large_is_cut_again() -> None:
    outer = asarray(np.ones((1000, 1))) + asarray(np.ones((1, 1000)))
    both = expression_of(outer + asarray(np.ones(1_000_000)).sum())
    assert extent(sample(both, 1 << 16)).touched_bytes <= 1 << 17


ANSWERS: tuple[Callable[[Any], Any], ...] = (
    lambda x: np.modf(x)[0],
    lambda x: np.modf(x)[1],
    lambda x: np.frexp(x)[1],
    lambda x: np.clip(x, None, 1.5),
    lambda x: np.clip(x, 1.2, x + 1),
    lambda x: x.astype("i2"),
    lambda x: x.round(1),
    lambda x: np.where(x > 1.5, x, -1),
    lambda x: x.sum(axis=1, where=x > 1.5, initial=3),
    lambda x: x.std(axis=0, ddof=1, keepdims=True),
)


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_every_sort_of_operation(number: int) -> None:
    (value,) = evaluate(build([expression_of(ANSWERS[number](asarray(X)))]))
    np.testing.assert_array_equal(value, ANSWERS[number](X))


def test_extent() -> None:
    x, h = asarray(X), handle(60, 300)
    told = extent(expression_of((x * h + x).sum(axis=0)))
    assert told.input_bytes == 2 * X.nbytes
    assert told.stored_bytes == X.nbytes
    assert told.result_bytes == 300 * 8
    assert told.touched_bytes == 4 * X.nbytes + 300 * 8


def test_the_same_memory_is_sent_once() -> None:
    expression = expression_of(
        asarray(X) * asarray(X) + asarray(X.reshape(1, 60, 300)) + handle(60, 300) / handle(60, 300)
    )
    assert extent(expression).input_bytes == 3 * X.nbytes
    assert extent(expression).stored_bytes == X.nbytes
    assert len(build([sample(expression, 10_000)]).inputs) == 3


def test_half_of_the_longest_axis() -> None:
    assert halved(expression_of(asarray(X).sum(axis=0))).result_bytes == 150 * 8
    assert halved(expression_of(asarray(X).sum(axis=1))).result_bytes == 60 * 8
    assert halved(expression_of(asarray(X).sum(axis=1))).input_bytes == X.nbytes // 2
    assert halved(expression_of(asarray(5.0))).input_bytes == 8


@pytest.mark.parametrize("shape", [(0,), (0, 5), (1,), ()])
def test_arrays_of_next_to_nothing(shape: tuple[int, ...]) -> None:
    expression = expression_of(asarray(np.ones(shape)) + 1)
    assert sample(expression, 1 << 20).type.shape == shape
    assert halved(expression).touched_bytes == extent(expression).touched_bytes
    times = time_numpy(expression)
    assert times.sample_bytes == extent(expression).touched_bytes


def test_a_deep_expression() -> None:
    array = asarray(X)
    for _ in range(3000):
        array = array + 1
    cut = sample(expression_of(array), 100_000)
    assert evaluate(build([cut]))[0][0, 0] == X[0, 0] + 3000


def test_what_is_shared_is_computed_once() -> None:
    array = asarray(X)
    for _ in range(60):
        array = array + array
    assert len(list(walk(expression_of(array)))) == 61
    assert len(build([sample(expression_of(array), 100_000)]).graph.nodes) == 61


def test_flattened_lengths_that_meet_again() -> None:
    flat = asarray(X).cumsum() + asarray(np.ones(60 * 300))
    with pytest.raises(ParameterError, match=r"no sample .* ask for its parts"):
        sample(expression_of(flat), 1000)


def test_values_that_numpy_refuses() -> None:
    with pytest.raises(ComputationError, match="negative integer powers"):
        time_numpy(expression_of(asarray(np.full(10_000, 3)) ** asarray(np.full(10_000, -1))))


def test_times() -> None:
    times = time_numpy(expression_of(np.sqrt(asarray(X)).sum()))
    assert times.overhead_seconds > 0
    assert times.seconds_per_byte >= 0
    assert times.sample_bytes >= FIRST_BYTES // 4
