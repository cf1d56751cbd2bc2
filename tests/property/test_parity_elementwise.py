"""Elementwise operations of a job equal NumPy's: every operation, dtype, broadcast, layout and size of blocks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from expressions import Expression, Tolerance
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from samples import anything, broadcastable, finite, fractions, orders, samples, shape_pairs
from strategies import Array, dtypes
from ways import Way, ways

from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.dtypes import DType
from arraymill_proto.errors import ComputationError, ShapeError
from arraymill_proto.graph import NodeRef
from arraymill_proto.validate import infer_graph

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

FUNCTIONS = ("where", "clip", "astype", "round", "real", "imag")
TWO_RESULTS = ("modf", "frexp", "divmod")
UFUNCS = sorted(
    name
    for name, known in OPERATIONS.items()
    if known.kind is Kind.ELEMENTWISE and name not in (*FUNCTIONS, *TWO_RESULTS)
)
TRANSCENDENTAL = re.compile(r"a?(rc)?(sin|cos|tan)h?2?|exp.*|log.*|.*power|hypot|cbrt|degrees|radians|deg2rad|rad2deg")
"""Floating-point operations whose last bits are no one's but the C library's and the processor's."""

EXTREMES = ("maximum", "minimum", "fmax", "fmin")
"""Which of 0.0 and -0.0 is the greater, NumPy's loops do not agree about."""

WEAK = [True, 0, 1, 3, -1, 2.5, -0.0, 1j, 300, 2**70, float("nan")]


def tolerance_of(name: str, answer: Array) -> Tolerance:
    """Bound the difference of two calls of one function on the same numbers in other places of memory.

    NumPy's loops for contiguous and for strided memory differ in the last bits of transcendental functions, and of
    complex products, which are fused in one of them.
    """
    if answer.dtype.kind not in "fc" or (answer.dtype.kind == "f" and not TRANSCENDENTAL.fullmatch(name)):
        return 1e-300 if name in EXTREMES else 0
    with np.errstate(all="ignore"):
        size = np.abs(answer.astype(np.complex128))
    return 8 * float(np.finfo(answer.dtype).eps) * np.where(np.isfinite(size), size + 1e-30, 0)


def check(way: Way, e: Expression, name: str, *args: int, **params: Any) -> None:
    """Compare one operation; where NumPy refuses dtypes, so must the graph's validation, and values, the run."""
    try:
        output = e.apply(name, *args, **params)
    except (TypeError, ValueError, OverflowError) as error:
        if "negative integer powers" in str(error):
            _check_computation(way, e, name, *args)
        else:
            e.check_refusal(error, name, *args, **params)
        return
    answer = e.values[output]
    if not hasattr(answer, "dtype"):  # a Python integer beyond 64 bits has come in
        e.check_refusal(TypeError(), name, *args, **params)
    else:
        e.check(way, output, tolerance=tolerance_of(name, np.asarray(answer)))


def _check_computation(way: Way, e: Expression, *call: Any) -> None:
    with pytest.raises(ComputationError):
        way.run(e.graph_with(*call), e.arrays)


def operand(data: st.DataObject, e: Expression, x: Array) -> int:
    """Add an array, or now and then a scalar in its place."""
    kind = data.draw(st.sampled_from(["array", "array", "array", "weak", "scalar"]))
    if kind == "weak":
        return e.constant(data.draw(st.sampled_from(WEAK)))
    if kind == "scalar" and x.size:
        return e.constant(x.astype(x.dtype.newbyteorder("=")).flat[0])
    return e.input(x, data.draw(orders(x.ndim)))


@pytest.mark.parametrize("name", [name for name in UFUNCS if OPERATIONS[name].max_args == 1])
@examples(12)
@given(data=st.data(), way=ways())
def test_unary(name: str, data: st.DataObject, way: Way) -> None:
    e = Expression()
    dtype = data.draw(dtypes() | dtypes("f"))
    pool = finite if dtype.kind == "c" else anything
    check(way, e, name, operand(data, e, data.draw(samples(pool, dtype=st.just(dtype)))))


@pytest.mark.parametrize("name", [name for name in UFUNCS if OPERATIONS[name].max_args == 2])
@examples(24)
@given(data=st.data(), shapes=shape_pairs(), way=ways())
def test_binary(name: str, data: st.DataObject, shapes: Any, way: Way) -> None:
    kinds = data.draw(st.sampled_from(["biuf", "biu", "biufc", "f"]))
    pool = finite if kinds == "biufc" or name == "float_power" else anything
    left, right = (data.draw(samples(pool, dtype=dtypes(kinds), shape=shape)) for shape in shapes)
    e = Expression()
    check(way, e, name, operand(data, e, left), operand(data, e, right))


@pytest.mark.parametrize("name", ["add", "multiply", "sqrt", "power", "less", "divide", "bitwise_and", "exp"])
@examples(20)
@given(data=st.data(), dtype=dtypes(foreign=False), way=ways())
def test_explicit_dtypes(name: str, data: st.DataObject, dtype: DType, way: Way) -> None:
    e = Expression()
    args = [e.input(data.draw(samples(fractions, shape=(3, 2)))) for _ in range(OPERATIONS[name].max_args)]
    check(way, e, name, *args, dtype=dtype)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", TWO_RESULTS)
@examples(20)
@given(data=st.data(), shapes=shape_pairs(), way=ways())
def test_operations_of_two_results(name: str, part: int, data: st.DataObject, shapes: Any, way: Way) -> None:
    e = Expression()
    given = shapes if name == "divmod" else shapes[:1]
    args = [operand(data, e, data.draw(samples(shape=shape, dtype=dtypes("biuf")))) for shape in given]
    check(way, e, name, *args, part=part)


@examples(80)
@given(data=st.data(), shapes=shape_pairs(), way=ways())
def test_where(data: st.DataObject, shapes: Any, way: Way) -> None:
    e = Expression()
    left, right = (operand(data, e, data.draw(samples(shape=shape))) for shape in shapes)
    whole = np.broadcast_shapes(*shapes)
    condition = operand(data, e, data.draw(samples(shape=broadcastable(whole))))
    check(way, e, "where", condition, left, right)


@examples(80)
@given(data=st.data(), shapes=shape_pairs(), way=ways(), names=st.sets(st.sampled_from(["min", "max"])))
def test_clip(data: st.DataObject, shapes: Any, way: Way, names: set[str]) -> None:
    e = Expression()
    x = e.input(data.draw(samples(shape=shapes[0])))
    bounds = {name: NodeRef(operand(data, e, data.draw(samples(finite, shape=shapes[1])))) for name in sorted(names)}
    check(way, e, "clip", x, **bounds)


@examples(80)
@given(x=samples(fractions), dtype=dtypes(foreign=False), way=ways())
def test_astype(x: Array, dtype: DType, way: Way) -> None:
    e = Expression()
    check(way, e, "astype", e.input(x), dtype=dtype)


@examples(60)
@given(x=samples(finite), decimals=st.integers(-2, 3), way=ways())
def test_round(x: Array, decimals: int, way: Way) -> None:
    if x.dtype.kind in "iu":  # NumPy rounds them as doubles, and the greatest do not fit any more
        x = (x % 100).astype(x.dtype)
    e = Expression()
    check(way, e, "round", e.input(x), decimals=decimals)


@pytest.mark.parametrize("name", ["real", "imag"])
@examples(30)
@given(x=samples(), way=ways())
def test_parts_of_complex_numbers(name: str, x: Array, way: Way) -> None:
    e = Expression()
    check(way, e, name, e.input(x))


@pytest.mark.parametrize("shapes", [((2, 3), (2,)), ((4,), (0,)), ((2, 1, 3), (5, 2)), ((3, 2), (2, 3))])
def test_shapes_that_do_not_broadcast_are_refused(shapes: Any) -> None:
    e = Expression()
    args = [e.input(np.ones(shape)) for shape in shapes]
    with pytest.raises(ShapeError, match="could not be broadcast"):
        infer_graph(e.graph_with("add", *args), e.type_of)
