"""NumPy's operators and functions on lazy Arrays: the shape, dtype, values and errors that NumPy gives on arrays."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies import Array as NumPyArray
from strategies import arrays, axes, dtypes, python_scalars, scalars
from unit.client.evaluate import value_of

from arraymill import Array, ArraymillError, asarray
from arraymill._numpy import canonical
from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.dtypes import SUPPORTED, is_supported
from arraymill_proto.errors import UnknownOperationError

Function: TypeAlias = Callable[..., Any]

_ARITHMETIC = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"]
_BITS = ["and_", "or_", "xor", "lshift", "rshift"]
_COMPARISONS = ["lt", "le", "gt", "ge", "eq", "ne"]
OPERATORS: list[Function] = [
    divmod,
    *(getattr(operator, name) for name in _ARITHMETIC + _BITS + _COMPARISONS),
]
UNARY_OPERATORS: list[Function] = [operator.neg, operator.pos, operator.invert, abs]
UFUNCS: list[np.ufunc] = [
    getattr(np, name)
    for name, signature in OPERATIONS.items()
    if signature.kind is Kind.ELEMENTWISE and isinstance(getattr(np, name, None), np.ufunc)
]
REDUCTIONS = sorted(name for name, signature in OPERATIONS.items() if signature.kind is not Kind.ELEMENTWISE)


def numpys(function: Function, *args: Any, **kwargs: Any) -> Any:
    """What NumPy answers: a value, several, or the exception that it raises."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function(*args, **kwargs)
        except Exception as exc:
            return exc


def ours(function: Function, *args: Any, **kwargs: Any) -> Any:
    """What the lazy Arrays answer: Arrays, or the exception that building or computing them raises."""
    try:
        answer = function(*args, **kwargs)
        value_of(*several(answer))
    except Exception as exc:
        return exc
    return answer


def several(answer: Any) -> tuple[Any, ...]:
    """One answer or several as a tuple."""
    return answer if type(answer) in (tuple,) else (answer,)


def check(lazy: Any, expected: Any) -> None:
    """Compare what a function made of Arrays with what it made of ndarrays."""
    if isinstance(expected, Exception):
        assert isinstance(lazy, numpys_class(expected)), (lazy, expected)
    elif isinstance(expected, tuple):
        for one, other in zip(several(lazy), several(expected), strict=True):
            check(one, other)
    elif not is_supported(np.asarray(expected).dtype):
        assert isinstance(lazy, TypeError)
    else:
        assert isinstance(lazy, Array), lazy
        (value,) = value_of(lazy)
        known = np.asarray(expected, np.asarray(expected).dtype.newbyteorder("="))
        assert (lazy.shape, lazy.dtype) == (known.shape, known.dtype)
        assert (np.shape(value), np.asarray(value).dtype.newbyteorder("=")) == (known.shape, known.dtype)
        np.testing.assert_array_equal(value, known)


def numpys_class(error: Exception) -> type[Exception]:
    """The class that a caller who knows NumPy would catch."""
    for known in (np.exceptions.AxisError, OverflowError, TypeError, ValueError):
        if isinstance(error, known):
            return known
    raise error


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two operands, the first an ndarray; the other one an ndarray that broadcasts with it, a list or a scalar."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    first = draw(arrays(shape=shapes[0]))
    kind = draw(st.sampled_from(["array", "array", "python", "numpy", "list"]))
    if kind == "array":
        return first, draw(arrays(shape=shapes[1]))
    if kind == "python":
        return first, draw(python_scalars())
    if kind == "numpy":
        return first, draw(dtypes(foreign=False).flatmap(scalars))
    return first, draw(arrays(shape=shapes[1], dtype=np.dtype(float))).tolist()


def in_either_order(data: st.DataObject, function: Function, first: Any, second: Any) -> None:
    """Apply a function with the Array on the left, on the right and on both sides."""
    lazy = asarray(first)
    if data.draw(st.booleans()):
        check(ours(function, lazy, second), numpys(function, first, second))
    else:
        check(ours(function, second, lazy), numpys(function, second, first))
    if isinstance(second, np.ndarray):
        check(ours(function, lazy, asarray(cast("NumPyArray", second))), numpys(function, first, second))


@given(st.sampled_from(OPERATORS), pairs(), st.data())
def test_operators(function: Function, operands: tuple[Any, Any], data: st.DataObject) -> None:
    in_either_order(data, function, *operands)


def power(base: Any, exponent: Any) -> Any:
    return base**exponent


@pytest.mark.parametrize("dtype", SUPPORTED, ids=str)
def test_powers(dtype: np.dtype[Any]) -> None:
    base = np.arange(1, 7).astype(dtype)
    exponents: list[Any] = [2, 1, -1, 0.5, 2.0, 1.0, -1.0, True, 3, 2 + 0j, np.int8(2), np.float32(0.5), base, [2] * 6]
    for exponent in exponents:
        check(ours(power, asarray(base), exponent), numpys(power, base, exponent))
        check(ours(power, exponent, asarray(base)), numpys(power, exponent, base))
    check(ours(power, asarray(base), asarray(base)), numpys(power, base, base))


@given(st.sampled_from(UNARY_OPERATORS), arrays())
def test_unary_operators(function: Function, array: NumPyArray) -> None:
    check(ours(function, asarray(array)), numpys(function, array))


@given(st.sampled_from([ufunc for ufunc in UFUNCS if ufunc.nin == 2]), pairs(), st.data())
def test_binary_ufuncs(ufunc: np.ufunc, operands: tuple[Any, Any], data: st.DataObject) -> None:
    in_either_order(data, ufunc, *operands)


@given(st.sampled_from([ufunc for ufunc in UFUNCS if ufunc.nin == 1]), arrays())
def test_unary_ufuncs(ufunc: np.ufunc, array: NumPyArray) -> None:
    check(ours(ufunc, asarray(array)), numpys(ufunc, array))


@given(st.sampled_from(UFUNCS), arrays(), dtypes(foreign=False))
def test_ufuncs_with_a_dtype(ufunc: np.ufunc, array: NumPyArray, dtype: np.dtype[Any]) -> None:
    operands = (array,) * ufunc.nin
    check(ours(ufunc, *map(asarray, operands), dtype=dtype), numpys(ufunc, *operands, dtype=dtype))


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_every_ufunc_of_every_dtype(ufunc: np.ufunc) -> None:
    for dtype in SUPPORTED:
        operands = [np.arange(1, 7).reshape(2, 3).astype(dtype)] * ufunc.nin
        check(ours(ufunc, *map(asarray, operands)), numpys(ufunc, *operands))


@st.composite
def reductions(draw: st.DrawFn) -> tuple[str, NumPyArray, dict[str, Any]]:
    """A reduction or scan, an array, and parameters that NumPy has for it (but may refuse for this array)."""
    name = draw(st.sampled_from(REDUCTIONS))
    array = draw(arrays())
    kinds = "biufc"
    if name in ("var", "std"):  # spreads around a mean that dtype truncates are refused: nobody wants them
        kinds = "c" if array.dtype.kind == "c" else "fc"
    choices: dict[str, st.SearchStrategy[Any]] = {
        "axis": axes(array.ndim) | st.integers(-3, 3),
        "keepdims": st.booleans(),
        "dtype": dtypes(kinds, foreign=False),
        "ddof": st.integers(0, 2) | st.floats(0, 2),
        "initial": st.integers(-9, 9) | st.floats(-9, 9),
        "where": hnp.arrays(bool, array.shape) | st.booleans(),
    }
    chosen = {key: draw(choices[key]) for key in OPERATIONS[name].params if draw(st.booleans())}
    return name, array, chosen


@given(reductions(), st.booleans())
def test_reductions_and_scans(given: tuple[str, NumPyArray, dict[str, Any]], as_method: bool) -> None:
    name, array, params = given
    expected = numpys(getattr(np, name), array, **params)
    lazy = asarray(array)
    if isinstance(params.get("where"), np.ndarray):
        params = {**params, "where": asarray(params["where"])}
    check(ours(getattr(lazy, name), **params) if as_method else ours(getattr(np, name), lazy, **params), expected)


METHODS: dict[str, Function] = {
    "add.reduce": np.add.reduce,
    "multiply.reduce": np.multiply.reduce,
    "minimum.reduce": np.minimum.reduce,
    "maximum.reduce": np.maximum.reduce,
    "logical_and.reduce": np.logical_and.reduce,
    "logical_or.reduce": np.logical_or.reduce,
    "add.accumulate": np.add.accumulate,
    "multiply.accumulate": np.multiply.accumulate,
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_ufuncs(name: str) -> None:
    array = np.arange(1, 13, dtype=np.int16).reshape(3, 4)
    choices: list[dict[str, Any]] = [{}, {"axis": 1}, {"axis": -1}]
    if name.endswith("reduce"):
        choices += [{"axis": None}, {"axis": (0, 1)}, {"keepdims": True}]
    for params in choices:
        check(ours(METHODS[name], asarray(array), **params), numpys(METHODS[name], array, **params))


@given(arrays(), st.integers(-3, 3))
def test_round(array: NumPyArray, decimals: int) -> None:
    for function in (np.round, np.around):
        check(ours(function, asarray(array), decimals), numpys(function, array, decimals))
    check(ours(asarray(array).round, decimals), numpys(array.round, decimals))
    check(ours(np.round, asarray(array)), numpys(np.round, array))


@given(pairs(), st.data())
def test_clip(operands: tuple[Any, Any], data: st.DataObject) -> None:
    array, bound = operands
    lazy = asarray(array)
    other: Any = asarray(bound) if np.ndim(bound) and data.draw(st.booleans()) else bound
    check(ours(np.clip, lazy, other, None), numpys(np.clip, array, bound, None))
    check(ours(np.clip, lazy, a_max=other, a_min=0), numpys(np.clip, array, a_max=bound, a_min=0))
    check(ours(np.clip, array, lazy, 5), numpys(np.clip, array, array, 5))
    check(ours(lazy.clip, other), numpys(array.clip, bound))


@given(pairs(), st.data())
def test_where(operands: tuple[Any, Any], data: st.DataObject) -> None:
    first, second = operands
    condition = data.draw(hnp.arrays(bool, np.shape(first)))
    expected = numpys(np.where, condition, first, second)
    check(ours(np.where, asarray(condition), first, second), expected)
    check(ours(np.where, condition, asarray(first), second), expected)
    check(ours(np.where, asarray(first), first, second), numpys(np.where, first, first, second))


@given(arrays(finite=True), dtypes(foreign=False))
def test_astype(array: NumPyArray, dtype: np.dtype[Any]) -> None:
    if array.dtype.kind in "fc" and dtype.kind in "biu":
        return  # undefined where the value does not fit
    check(ours(asarray(array).astype, dtype), numpys(array.astype, dtype))
    if hasattr(np, "astype"):
        check(ours(np.astype, asarray(array), dtype), numpys(array.astype, dtype))


@given(arrays())
def test_parts_of_complex_numbers(array: NumPyArray) -> None:
    lazy: Any = asarray(array)
    plain: Any = array
    check(ours(np.real, lazy), plain.real)
    check(ours(np.imag, lazy), plain.imag)
    check(lazy.real, plain.real)
    check(lazy.imag, plain.imag)
    check(ours(lazy.conj), numpys(np.conjugate, array))


@given(arrays())
def test_what_needs_no_values_is_answered_at_once(array: NumPyArray) -> None:
    lazy = asarray(array)
    for function in (np.shape, np.ndim, np.size, np.iscomplexobj, np.isrealobj):
        assert function(lazy) == function(array)
    for other in (lazy, array, np.int8(1), 1, 1.0, np.dtype("f4")):
        plain = array if other is lazy else other
        assert np.result_type(lazy, other) == np.result_type(array, plain)
    assert (lazy.ndim, lazy.size, lazy.itemsize, lazy.nbytes) == (
        array.ndim,
        array.size,
        array.itemsize,
        array.nbytes,
    )


def in_place(array: Any, other: Any) -> Any:
    array += other
    return array


LAZY: Any = asarray(np.arange(6.0).reshape(2, 3))

NOT_COMPUTED: dict[str, tuple[Function, str]] = {
    "another function": (lambda: np.sort(LAZY), "np.sort is not computed by arraymill: compute the expression first"),
    "a function of a subpackage": (lambda: np.linalg.norm(LAZY), "np.linalg.norm is not computed"),
    "another ufunc": (lambda: np.isnat(LAZY), "np.isnat is not computed"),
    "a ufunc of others": (lambda: np.frompyfunc(abs, 1, 1)(LAZY), "abs (vectorized) is not computed by arraymill"),
    "another method": (lambda: np.add.outer(LAZY, LAZY), "np.add.outer is not computed"),
    "a method without a counterpart": (lambda: np.subtract.reduce(LAZY), "np.subtract.reduce is not computed"),
    "matrix products": (lambda: LAZY @ LAZY, "matrix products"),
    "matrix products from the right": (lambda: np.ones((2, 2)) @ LAZY, "np.matmul is not computed"),
    "where of one argument": (lambda: np.where(LAZY), "np.where of one argument is not computed"),
    "where in a ufunc": (lambda: np.sqrt(LAZY, where=False), "np.sqrt: where= leaves elements undefined"),
    "out of a ufunc": (lambda: np.sqrt(LAZY, out=np.empty((2, 3))), "use compute(expression, out=array)"),
    "out of a function": (lambda: np.sum(LAZY, out=np.empty(())), "use compute(expression, out=array)"),
    "an unknown keyword": (lambda: np.sqrt(LAZY, casting="no"), "the keyword casting= is not supported"),
    "a keyword of a method": (lambda: np.add.reduce(LAZY, out=np.empty(3)), "use compute(expression, out=array)"),
    "a known mean": (lambda: np.var(LAZY, mean=1.0), "the keyword mean= is not supported"),
    "an array in place": (lambda: in_place(np.ones((2, 3)), LAZY), "use compute(expression, out=array)"),
    "conversion": (lambda: np.asarray(LAZY), "none are transferred silently: use compute(array)"),
    "conversion in a list": (lambda: np.array([LAZY, LAZY]), "use compute"),
    "truth": (lambda: bool(LAZY), "the truth value of an Array is not known"),
    "comparison chains": (lambda: 0 < LAZY < 1, "the truth value of an Array is not known"),
    "iteration": (lambda: list(LAZY), "cannot be iterated"),
    "membership": (lambda: 1 in LAZY, "not iterable"),
    "unpacking": (lambda: print(*LAZY), "cannot be iterated"),
    "a dictionary": (lambda: {LAZY: 1}, "unhashable"),
}


@pytest.mark.parametrize("name", NOT_COMPUTED)
def test_nothing_is_computed_or_transferred_silently(name: str) -> None:
    function, message = NOT_COMPUTED[name]
    with pytest.raises(TypeError) as caught:
        function()
    assert message in str(caught.value)


STRANGERS: list[Any] = ["text", None, {}, object(), {1, 2}, b"bytes"]


@pytest.mark.parametrize("function", [*OPERATORS, np.add], ids=lambda function: function.__name__)
def test_what_is_no_operand_is_left_to_python(function: Function) -> None:
    for stranger in STRANGERS:
        if function in (operator.eq, operator.ne):
            assert function(LAZY, stranger) is (function is operator.ne)
            continue
        with pytest.raises(TypeError):
            function(LAZY, stranger)
        if function is not operator.mod:  # "text" % anything is a format
            with pytest.raises(TypeError):
                function(stranger, LAZY)


def test_a_class_of_others_may_take_over() -> None:
    class Mine:
        __array_ufunc__ = None

        def __radd__(self, other: object) -> str:
            return "mine"

        def __add__(self, other: object) -> str:
            return "mine too"

    assert LAZY + Mine() == "mine"
    assert Mine() + LAZY == "mine too"


def test_names_of_operations() -> None:
    assert {
        name: canonical(name) for name in ("abs", "amax", "amin", "around", "fix", "mod", "true_divide", "conj")
    } == {
        "abs": "absolute",
        "amax": "max",
        "amin": "min",
        "around": "round",
        "fix": "trunc",
        "mod": "remainder",
        "true_divide": "divide",
        "conj": "conjugate",
    }
    assert all(canonical(name) == name for name in OPERATIONS)
    assert canonical("sort") == "sort"
    assert issubclass(UnknownOperationError, ArraymillError)
