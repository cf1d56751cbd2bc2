"""Reductions of a job equal NumPy's: every axis, mask, dtype, layout and size of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import Expression, Tolerance
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples
from samples import broadcastable, factors, fractions, orders, sample, samples
from strategies import Array, axes, dtypes
from ways import Way, ways

from arraymill_proto.dtypes import SUPPORTED, DType
from arraymill_proto.graph import NodeRef, Order, Shape

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

EXACT = ("min", "max", "ptp", "argmin", "argmax", "any", "all", "count_nonzero")
ROUNDING = ("sum", "prod", "mean", "var", "std")
ONE_AXIS = ("argmin", "argmax")
MASKED = ("sum", "prod", "mean", "var", "std", "min", "max", "any", "all")
INITIAL = ("sum", "prod", "min", "max")


def tolerance_of(op: str, x: Array, answer: Array, params: dict[str, Any]) -> Tolerance:
    """Bound the difference of two results that each round once for every element, whatever their order of summation.

    Elements are at most 4√2 here, and products of all of them at most e⁸.
    """
    if op not in ROUNDING or answer.dtype.kind not in "fc":
        return 0
    count = max(1, x.size)
    unit = float(np.finfo(answer.dtype).eps) * (count + 8)
    spread = count / max(count - params.get("ddof", 0), 0.25)
    scale: dict[str, Tolerance] = {
        "sum": 6.0 * count,
        "mean": 6.0,
        "var": 36 * spread,
        "std": 6 * np.sqrt(spread / unit),
        "prod": np.abs(answer.astype(np.complex128)) + unit,
    }
    return unit * scale[op]


def check(way: Way, x: Array, order: Order | None, op: str, **params: Any) -> None:
    """Compare one reduction of an array."""
    e = Expression()
    check_node(way, e, e.input(x, order), op, **params)


def _add(e: Expression, value: Any) -> int:
    return e.input(value) if issubclass(type(value), np.ndarray) else e.constant(value)


def check_node(way: Way, e: Expression, node: int, op: str, **params: Any) -> None:
    """Compare one reduction; where NumPy refuses it, so must the graph's validation.

    `where` and `initial` are given as values.
    """
    for name in ("where", "initial"):
        if params.get(name) is not None:
            params[name] = NodeRef(_add(e, params[name]))
    try:
        output = e.apply(op, node, **params)
    except (TypeError, ValueError, OverflowError) as error:
        e.check_refusal(error, op, node, **params)
        return
    answer = np.asarray(e.values[output])
    if op in ("min", "max", "ptp") and answer.dtype.kind == "f":
        e.check(way, output, tolerance=1e-300)  # which zero of two is the least is left open by NumPy
    else:
        e.check(way, output, tolerance=tolerance_of(op, np.asarray(e.values[node]), answer, params))


@pytest.mark.parametrize("op", EXACT)
@examples(60)
@given(data=st.data(), x=samples(), keepdims=st.booleans(), way=ways())
def test_exact_reductions(op: str, data: st.DataObject, x: Array, keepdims: bool, way: Way) -> None:
    axis = data.draw(axes(x.ndim, tuples=op not in ONE_AXIS))
    check(way, x, data.draw(orders(x.ndim)), op, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("op", ROUNDING)
@examples(60)
@given(data=st.data(), keepdims=st.booleans(), way=ways())
def test_rounding_reductions(op: str, data: st.DataObject, keepdims: bool, way: Way) -> None:
    x = data.draw(samples(factors if op == "prod" else fractions))
    check(way, x, data.draw(orders(x.ndim)), op, axis=data.draw(axes(x.ndim)), keepdims=keepdims)


@pytest.mark.parametrize("op", MASKED)
@examples(50)
@given(data=st.data(), keepdims=st.booleans(), way=ways())
def test_masks(op: str, data: st.DataObject, keepdims: bool, way: Way) -> None:
    x = data.draw(samples(factors if op == "prod" else fractions))
    mask = samples(dtype=st.just(np.dtype(np.bool_)), shape=broadcastable(x.shape))
    where = data.draw(st.one_of(mask, mask, mask, st.booleans(), st.booleans().map(np.bool_)))
    initial = data.draw(st.sampled_from([0, 2, 100])) if op in ("min", "max") else None
    axis = data.draw(axes(x.ndim))
    check(way, x, None, op, axis=axis, keepdims=keepdims, where=where, initial=initial)


@pytest.mark.parametrize("op", INITIAL)
@examples(50)
@given(data=st.data(), keepdims=st.booleans(), way=ways())
def test_initial_values(op: str, data: st.DataObject, keepdims: bool, way: Way) -> None:
    x = data.draw(samples(factors if op == "prod" else fractions))
    values = [0, 1, -1, 3, True, 1.5, 2 + 1j, 1000, np.int8(3), np.float32(1.5), np.complex64(1j), np.uint64(7)]
    initial = data.draw(st.sampled_from(values))
    check(way, x, None, op, axis=data.draw(axes(x.ndim)), keepdims=keepdims, initial=initial)


@pytest.mark.parametrize("op", ROUNDING)
@examples(50)
@given(data=st.data(), dtype=dtypes(foreign=False), ddof=st.sampled_from([None, 0, 1, 2.5, -1, 1000]), way=ways())
def test_dtypes_and_degrees_of_freedom(
    op: str, data: st.DataObject, dtype: DType, ddof: float | None, way: Way
) -> None:
    x = data.draw(samples(factors if op == "prod" else fractions))
    if op in ("var", "std"):
        assume(dtype.kind == "c" or (dtype.kind == "f" and x.dtype.kind != "c"))  # else refused: see the catalogue
    more = {"ddof": ddof} if op in ("var", "std") and ddof is not None else {}
    check(way, x, None, op, axis=data.draw(axes(x.ndim)), dtype=dtype, **more)


@pytest.mark.parametrize("op", [*EXACT, *ROUNDING])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@examples(15)
@given(length=st.integers(1, 12), seed=st.integers(0, 999), way=ways())
def test_what_is_not_finite(op: str, dtype: type[np.generic], length: int, seed: int, way: Way) -> None:
    def pool(dtype: DType) -> Array:
        return np.array([0.0, -0.0, 1, 2, -2, 1, 1, np.nan, np.inf, -np.inf][seed % 4 :: 2], dtype)

    x = sample(pool, np.dtype(dtype), (length,), seed)
    check(way, x, None, op)


@pytest.mark.parametrize("op", [*EXACT, *ROUNDING])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1, 0, 2)])
def test_empty_arrays(op: str, shape: Shape) -> None:
    for dtype in SUPPORTED:
        for axis in (None, *range(len(shape))):
            check(Way(), np.empty(shape, dtype), None, op, axis=axis)


@pytest.mark.parametrize("op", [*EXACT, *ROUNDING])
def test_constants(op: str) -> None:
    for value in (True, -3, 2.5, 1 - 2j, np.float32(7), np.uint8(200)):
        for keepdims in (False, True):
            e = Expression()
            check_node(Way(), e, e.constant(value), op, keepdims=keepdims)


@pytest.mark.parametrize("op", EXACT)
def test_ties_go_to_the_first_in_c_order_whatever_the_order_of_memory(op: str) -> None:
    x = np.array([[1, 0, 2, 0], [2, 0, 2, 1], [0, 1, 2, 2]])
    for elements in range(1, 13):
        for order in (None, (1, 0)):
            for axis in (None, 0, 1, -1):
                check(Way(block_elements=elements, seed=elements), x, order, op, axis=axis)


@pytest.mark.parametrize("op", [*EXACT, *ROUNDING])
def test_wrong_axes(op: str) -> None:
    for axis in (2, -3, (0, 2), (0, 0), (1, -1), (), -1):
        check(Way(), np.ones((2, 3)), None, op, axis=axis)
