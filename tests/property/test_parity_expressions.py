"""Expressions of several passes, inputs and outputs equal NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import Expression
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from samples import finite, fractions, integers, orders, samples
from strategies import Array, axes, dtypes
from ways import Way, ways

from arraymill_proto.errors import ShapeError
from arraymill_proto.graph import Constant, Graph, Input, NodeRef, Operation
from arraymill_proto.validate import infer_graph

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

FLOATS = dtypes("f").filter(lambda dtype: dtype.itemsize > 2)
REDUCTIONS = ["sum", "mean", "max", "min", "any", "std", "count_nonzero", "argmin"]


def close(e: Expression, *nodes: int) -> list[Any]:
    """Bound the differences of results of a few dozen roundings of numbers below 100."""
    return [1e3 * float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0 for dtype in _dtypes(e, *nodes)]


def _dtypes(e: Expression, *nodes: int) -> list[np.dtype[Any]]:
    return [np.asarray(e.values[node]).dtype for node in nodes]


@examples(80)
@given(data=st.data(), x=samples(fractions, dtype=FLOATS), way=ways())
def test_standard_scores(data: st.DataObject, x: Array, way: Way) -> None:
    """(x - x.mean()) / x.std(), along any axes: two passes over x at least."""
    e = Expression()
    node = e.input(x, data.draw(orders(x.ndim)))
    axis = data.draw(axes(x.ndim))
    mean, std = (e.apply(name, node, axis=axis, keepdims=True) for name in ("mean", "std"))
    spread = e.apply("add", std, e.constant(0.25))
    scores = e.apply("divide", e.apply("subtract", node, mean), spread)
    outputs = (scores, mean, std, e.apply("mean", scores), e.apply("sum", e.apply("square", scores), axis=axis))
    e.check(way, *outputs, tolerance=close(e, *outputs))


@examples(80)
@given(data=st.data(), x=samples(integers, dtype=dtypes("f")), way=ways())
def test_reductions_of_expressions_of_reductions(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.input(x)
    for name in data.draw(st.lists(st.sampled_from(["max", "min", "sum"]), min_size=1, max_size=4)):
        axis = data.draw(axes(x.ndim))
        try:
            part = e.apply(name, node, axis=axis, keepdims=True)
        except ValueError as error:
            e.check_refusal(error, name, node, axis=axis)
            return
        node = e.apply("minimum", e.apply("subtract", node, part), e.constant(3))
    e.check(way, node, e.apply("count_nonzero", node), e.apply("sum", node))


@examples(60)
@given(data=st.data(), x=samples(finite), way=ways())
def test_an_output_twice_and_outputs_that_are_inputs_or_constants(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.input(x, data.draw(orders(x.ndim)))
    constants = [e.constant(value) for value in (True, 3, 2.5, 1j, np.float16(1.5), np.int8(-3))]
    absolute = e.apply("absolute", node)
    count = e.apply("count_nonzero", node)
    scan = e.apply("cumsum", absolute) if x.dtype.kind in "biu" else absolute
    choices = st.sampled_from([node, absolute, count, scan, *constants])
    e.check(way, *data.draw(st.lists(choices, min_size=1, max_size=6)), tolerance=0 if x.dtype.kind != "c" else 1e-2)


@examples(60)
@given(data=st.data(), way=ways())
def test_reductions_of_nothing_inside_expressions(data: st.DataObject, way: Way) -> None:
    """Sums over axes without elements are constants, of one element or of many, or empty themselves."""
    x = data.draw(samples(dtype=dtypes("bif"), shape=st.sampled_from([(0,), (0, 3), (3, 0), (2, 0, 3)])))
    y = data.draw(samples(finite, dtype=dtypes("bif"), shape=st.sampled_from([(3,), (1,), (2, 3), ()])))
    e = Expression()
    nothing, something = e.input(x), e.input(y)
    empties = [e.apply(name, nothing, axis=data.draw(axes(x.ndim))) for name in ("sum", "prod", "any", "mean")]
    outputs = list(empties)
    for empty in empties:
        try:
            outputs.append(e.apply("add", empty, something))
        except ValueError as error:
            e.check_refusal(error, "add", empty, something)
    outputs += [e.apply("sum", output) for output in outputs]
    e.check(way, *outputs, tolerance=close(e, *outputs))


@examples(60)
@given(data=st.data(), x=samples(integers, dtype=dtypes("bif")), way=ways())
def test_masks_and_bounds_that_are_computed(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.input(x, data.draw(orders(x.ndim)))
    axis = data.draw(axes(x.ndim))
    mean = e.apply("mean", node, axis=axis, keepdims=True)
    mask = e.apply("greater", node, e.apply("trunc", mean))
    total = e.apply("sum", node, axis=axis, where=NodeRef(mask))
    low = e.apply("min", node, axis=axis, keepdims=True, initial=NodeRef(e.constant(1)), where=NodeRef(mask))
    clipped = e.apply("clip", node, min=NodeRef(low), max=NodeRef(e.constant(2)))
    e.check(way, total, low, clipped, e.apply("where", mask, clipped, e.constant(0)))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_constants_in_expressions(name: str) -> None:
    for value in (True, 3, 2.5, np.float32(7)):
        e = Expression()
        reduced = e.apply(name, e.constant(value))
        e.check(Way(), e.apply("add", reduced, e.input(np.arange(6.0).reshape(2, 3))), reduced)


@examples(60)
@given(data=st.data(), way=ways())
def test_many_inputs_of_many_shapes(data: st.DataObject, way: Way) -> None:
    """Inputs that broadcast are read again and again, held or asked for anew, in orders of their own."""
    shapes = [(3, 4, 2), (4, 1), (2,), (1, 1, 2), (3, 1, 1), ()]
    e = Expression()
    chosen = data.draw(st.lists(st.sampled_from(shapes), min_size=2, max_size=5))
    nodes = [
        e.input(data.draw(samples(integers, dtype=dtypes("if"), shape=shape)), data.draw(orders(len(shape))))
        for shape in chosen
    ]
    total = nodes[0]
    for node in nodes[1:]:
        total = e.apply("add", total, node)
    ndim = np.ndim(e.values[total])
    outputs = [total, *(e.apply("sum", total, axis=data.draw(axes(ndim))) for _ in range(3)), e.apply("max", nodes[0])]
    e.check(way, *outputs, tolerance=[0 if d.itemsize > 2 or d.kind != "f" else 0.25 for d in _dtypes(e, *outputs)])


@examples(60)
@given(data=st.data(), x=samples(integers, dtype=dtypes("if", foreign=False)), way=ways())
def test_resident_arrays_of_any_strides(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.resident(x)
    shape = data.draw(st.sampled_from([x.shape, x.shape[-1:], (1, *x.shape)]))
    beside = e.resident(np.ones(shape, np.int16)) if data.draw(st.booleans()) else e.input(np.ones(shape, np.int16))
    together = e.apply("add", node, beside)
    outputs = [
        node,
        together,
        e.apply("sum", node),
        e.apply("sum", together, axis=data.draw(axes(e.values[together].ndim))),
    ]
    e.check(way, *outputs, tolerance=[0 if d.itemsize > 2 or d.kind != "f" else 0.25 for d in _dtypes(e, *outputs)])


def test_arrays_of_32_dimensions() -> None:
    x = np.arange(24.0).reshape((1, 2, 1, 3) + (1,) * 27 + (4,))
    e = Expression()
    node = e.input(x, tuple(reversed(range(32))))
    total = e.apply("sum", node, axis=(1, 31), keepdims=True)
    outputs = (e.apply("subtract", node, total), e.apply("cumsum", node, axis=-1), e.apply("argmax", node))
    for elements in (None, 5):
        e.check(Way(seed=1, block_elements=elements), *outputs, total)


def test_a_thousand_operations_in_a_row() -> None:
    e = Expression()
    node = e.input(np.arange(10.0))
    for step in range(1000):
        node = e.apply("negative" if step % 3 else "square", node) if step < 30 else e.apply("negative", node)
    e.check(Way(block_elements=3), node)


def test_nothing_that_is_not_needed_is_computed_or_asked_for() -> None:
    nodes = (Input((3,), np.dtype(float)), Input((2,), np.dtype(float)), Constant(2), Operation("add", (0, 2)))
    unused = (Operation("power", (2, 2)), Operation("sum", (1,)))
    results = Way().run(Graph((*nodes, *unused), (3,)), [np.ones(3), np.ones(2)])
    np.testing.assert_array_equal(results[0], [3, 3, 3])


def test_a_graph_names_the_node_that_numpy_would_refuse() -> None:
    e = Expression()
    three, two = e.input(np.ones(3)), e.input(np.ones(2))
    e.apply("sum", three)
    with pytest.raises(ShapeError, match=r"node 3, add: operands could not be broadcast together"):
        infer_graph(e.graph_with("add", three, two), e.type_of)
