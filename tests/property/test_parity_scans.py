"""Scans of a job equal NumPy's: every axis, dtype and size of blocks, chained, mixed and broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import Expression, Tolerance
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from samples import anything, factors, fractions, integers, orders, sample, samples
from strategies import Array, axes, dtypes
from ways import Way, ways

from arraymill_proto.dtypes import SUPPORTED, DType
from arraymill_proto.graph import Shape

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SCANS = ("cumsum", "cumprod")
EXACT_DTYPES = dtypes("biu") | st.sampled_from([np.dtype(np.float64), np.dtype(np.complex128)])
"""Dtypes in which sums of a few small integers are exact in whatever order."""


def tolerance_of(e: Expression, output: int) -> Tolerance:
    """Bound the difference of two scans that round once at every element; see `samples.fractions` and `factors`."""
    answer = np.asarray(e.values[output])
    if answer.dtype.kind not in "fc":
        return 0
    unit = float(np.finfo(answer.dtype).eps) * (answer.size + 8)
    return unit * max(6.0 * answer.size, float(np.max(np.abs(answer), initial=0)))


def check(way: Way, e: Expression, name: str, node: int, **params: Any) -> None:
    """Compare one scan; where NumPy refuses it, so must the graph's validation."""
    try:
        output = e.apply(name, node, **params)
    except (TypeError, ValueError) as error:
        e.check_refusal(error, name, node, **params)
        return
    e.check(way, output, tolerance=tolerance_of(e, output))


@pytest.mark.parametrize("name", SCANS)
@examples(100)
@given(data=st.data(), way=ways())
def test_every_axis_and_layout(name: str, data: st.DataObject, way: Way) -> None:
    x = data.draw(samples(factors if name == "cumprod" else fractions))
    e = Expression()
    check(way, e, name, e.input(x, data.draw(orders(x.ndim))), axis=data.draw(axes(x.ndim, tuples=False)))


@pytest.mark.parametrize("name", SCANS)
@examples(60)
@given(data=st.data(), dtype=dtypes(foreign=False), way=ways())
def test_explicit_dtypes(name: str, data: st.DataObject, dtype: DType, way: Way) -> None:
    x = data.draw(samples(factors if name == "cumprod" else fractions))
    e = Expression()
    check(way, e, name, e.input(x), axis=data.draw(axes(x.ndim, tuples=False)), dtype=dtype)


@pytest.mark.parametrize("name", SCANS)
@examples(40)
@given(x=samples(anything, dtype=dtypes("biu")), data=st.data(), way=ways())
def test_integers_wrap(name: str, x: Array, data: st.DataObject, way: Way) -> None:
    e = Expression()
    check(way, e, name, e.input(x), axis=data.draw(axes(x.ndim, tuples=False)))


@pytest.mark.parametrize("name", SCANS)
@examples(40)
@given(seed=st.integers(0, 999), length=st.integers(0, 12), way=ways())
def test_what_is_not_finite_and_signs_of_zeros(name: str, seed: int, length: int, way: Way) -> None:
    def pool(dtype: DType) -> Array:
        return np.array([-0.0, -0.0, 0.0, 1, -1, 1, np.nan, np.inf, -np.inf][: 3 + seed % 7], dtype)

    e = Expression()
    output = e.apply(name, e.input(sample(pool, np.dtype(np.float64), (length,), seed)))
    e.check(way, output)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (0, 3), (3, 0), (2, 0, 4), (1, 1)])
def test_empty_and_tiny_arrays(name: str, shape: Shape) -> None:
    for dtype in SUPPORTED:
        for axis in (None, *range(max(1, len(shape)))):
            e = Expression()
            check(Way(), e, name, e.input(np.ones(shape, dtype)), axis=axis)


@examples(150)
@given(data=st.data(), way=ways())
def test_chains_of_scans(data: st.DataObject, way: Way) -> None:
    """Scans of scans along any axes, with expressions between them, and reductions of all of them."""
    x = data.draw(samples(integers, dtype=EXACT_DTYPES))
    e = Expression()
    nodes = [e.input(x, data.draw(orders(x.ndim)))]
    for _ in range(data.draw(st.integers(1, 4))):
        argument = data.draw(st.sampled_from(nodes))
        if data.draw(st.booleans()):
            alike = [node for node in nodes if np.shape(e.values[node]) == np.shape(e.values[argument])]
            argument = e.apply("add", argument, data.draw(st.sampled_from([e.constant(1), *alike])))
        axis = data.draw(axes(np.ndim(e.values[argument]), tuples=False))
        nodes.append(e.apply("cumsum", argument, axis=axis))
    nodes.append(e.apply("sum", nodes[-1], axis=data.draw(axes(np.ndim(e.values[nodes[-1]])))))
    e.check(way, *data.draw(st.lists(st.sampled_from(nodes[1:]), min_size=1, max_size=4)))


@examples(60)
@given(data=st.data(), way=ways())
def test_scans_that_are_broadcast_to_a_larger_shape_are_kept_whole(data: st.DataObject, way: Way) -> None:
    x = data.draw(samples(integers, dtype=EXACT_DTYPES, shape=(4,)))
    y = data.draw(samples(integers, dtype=EXACT_DTYPES, shape=st.sampled_from([(3, 4), (4, 1), (2, 3, 4)])))
    e = Expression()
    scan = e.apply("cumsum", e.input(x))
    wide = e.apply("add", scan, e.input(y))
    again = e.apply("cumsum", wide, axis=data.draw(axes(np.ndim(e.values[wide]), tuples=False)))
    e.check(way, scan, again, wide)


@examples(60)
@given(data=st.data(), x=samples(integers, dtype=EXACT_DTYPES), way=ways())
def test_scans_of_every_kind_beside_each_other(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.input(x, data.draw(orders(x.ndim)))
    choices = [None, *range(x.ndim)]
    scans = [e.apply("cumsum", node, axis=axis) for axis in choices]
    sums = [e.apply("sum", scan) for scan in scans]
    e.check(way, *scans, *sums)


@examples(40)
@given(data=st.data(), x=samples(integers, dtype=EXACT_DTYPES, shape=(3, 4)), way=ways())
def test_scans_of_reductions(data: st.DataObject, x: Array, way: Way) -> None:
    e = Expression()
    node = e.input(x)
    axis = data.draw(st.integers(0, 1))
    total = e.apply("sum", node, axis=axis, keepdims=True)
    centred = e.apply("add", node, total)
    e.check(way, e.apply("cumsum", centred, axis=axis), e.apply("cumsum", total), e.apply("cumsum", centred))
