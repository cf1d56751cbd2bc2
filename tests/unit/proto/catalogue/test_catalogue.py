"""The catalogue against NumPy: every operation on every dtype, and shapes, axes and parameters of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import numpy_answer
from strategies import Array, axes, dtypes, python_scalars, scalars, shapes

from arraymill_proto.catalogue import OPERATIONS, Kind, Operand, infer, operand_type, signature_of
from arraymill_proto.dtypes import SUPPORTED, DType
from arraymill_proto.errors import ArraymillError, DTypeError, ParameterError, ShapeError, UnknownOperationError
from arraymill_proto.graph import ArrayType

ELEMENTWISE = [name for name, signature in OPERATIONS.items() if signature.kind is Kind.ELEMENTWISE]
UFUNCS = [name for name in ELEMENTWISE if isinstance(getattr(np, name, None), np.ufunc)]
REDUCTIONS = [name for name, signature in OPERATIONS.items() if signature.kind is Kind.REDUCTION]
SCANS = [name for name, signature in OPERATIONS.items() if signature.kind is Kind.SCAN]
SPREADS = ["var", "std"]
WEAK = [True, 3, 2.5, 1j, 300]


def known(value: Any) -> Any:
    """Return what is known of an argument before anything is computed."""
    if isinstance(value, np.ndarray):
        array = cast("Array", value)
        return ArrayType(array.shape, array.dtype.newbyteorder("="))
    return value


def holds_mean(dtype: DType, asked: DType) -> bool:
    """Tell whether NumPy's mean of some dtype, cast to another, is still the mean."""
    return asked.kind == "c" or (asked.kind == "f" and dtype.kind != "c")


def assert_agrees(name: str, args: Sequence[Any], params: Mapping[str, Any]) -> None:
    """Assert that `infer` gives the type of NumPy's answer, or refuses with an error of NumPy's kind."""
    inferred = attempt(infer, name, [*map(known, args)], {key: known(value) for key, value in params.items()})
    answer = attempt(numpy_answer, name, args, params)
    if isinstance(answer, Exception):
        is_right = isinstance(inferred, kind_of(answer)) and isinstance(inferred, ArraymillError)
    elif (result := np.asarray(answer)).dtype not in SUPPORTED:
        is_right = isinstance(inferred, DTypeError)
    else:
        is_right = inferred == ArrayType(result.shape, result.dtype) and inferred.dtype.isnative
    assert is_right, f"{name}({', '.join(map(repr, args))}, {dict(params)}): {inferred!r}, NumPy: {answer!r}"


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns or raises."""
    try:
        return function(*args)
    except (TypeError, ValueError, OverflowError, ArithmeticError) as exc:
        return exc


def kind_of(error: Exception) -> type[Exception]:
    """Return the kind of an error for which a NumPy user has an except clause."""
    kinds = (np.exceptions.AxisError, OverflowError, TypeError, ValueError)
    return next(kind for kind in kinds if isinstance(error, kind))


def ones(dtype: DType, shape: Sequence[int] = (2,)) -> Any:
    return np.ones(shape, dtype)


def argument_lists(count: int) -> Iterator[tuple[Any, ...]]:
    """Every combination of dtypes, and of one dtype with a weak scalar on either side."""
    yield from product(map(ones, SUPPORTED), repeat=count)
    if count == 2:
        for array, weak in product(map(ones, SUPPORTED), WEAK):
            yield array, weak
            yield weak, array
        yield from product(WEAK, WEAK)


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_on_every_dtype(name: str) -> None:
    signature = OPERATIONS[name]
    for args in argument_lists(signature.max_args):
        for part in (0, 1) if signature.required else (None,):
            assert_agrees(name, args, {} if part is None else {"part": part})


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_with_every_dtype_parameter(name: str) -> None:
    signature = OPERATIONS[name]
    part = {"part": 1} if signature.required else {}
    for dtype, asked in product(SUPPORTED, SUPPORTED):
        assert_agrees(name, [ones(dtype)] * signature.max_args, {"dtype": asked, **part})


@pytest.mark.parametrize("name", ["real", "imag", "round", "clip"])
def test_functions_of_one_array_on_every_dtype(name: str) -> None:
    for dtype in SUPPORTED:
        assert_agrees(name, [ones(dtype)], {})


def test_astype_between_all_dtypes() -> None:
    for source, target in product(SUPPORTED, SUPPORTED):
        assert_agrees("astype", [ones(source)], {"dtype": target})


def test_round_to_decimals() -> None:
    for dtype, decimals in product(SUPPORTED, (-3, 0, 2, 2**70)):
        assert_agrees("round", [ones(dtype)], {"decimals": decimals})


def test_where_on_all_dtypes_and_weak_scalars() -> None:
    choices = [*map(ones, SUPPORTED), *WEAK, np.float32(2), 2**70]
    for condition in (ones(np.dtype(bool)), ones(np.dtype(complex)), True, 0):
        for first, second in product(choices, choices):
            assert_agrees("where", [condition, first, second], {})


def test_clip_with_bounds_of_all_dtypes() -> None:
    bounds = [*map(ones, SUPPORTED), *WEAK, np.float32(2), None]
    for dtype, low, high in product(SUPPORTED, bounds, (None, 5, 2.5, 300, 2**70, np.int64(7))):
        params = {"min": low, "max": high}
        assert_agrees("clip", [ones(dtype)], {key: value for key, value in params.items() if value is not None})


@pytest.mark.parametrize("name", REDUCTIONS + SCANS)
def test_every_reduction_and_scan_on_every_dtype(name: str) -> None:
    for dtype in SUPPORTED:
        assert_agrees(name, [ones(dtype)], {})
        if "dtype" in OPERATIONS[name].params:
            for asked in SUPPORTED:
                if name not in SPREADS or holds_mean(dtype, asked):
                    assert_agrees(name, [ones(dtype)], {"dtype": asked})


@pytest.mark.parametrize("name", SPREADS)
def test_a_spread_around_a_truncated_mean_is_refused(name: str) -> None:
    for dtype, asked in product(SUPPORTED, SUPPORTED):
        if not holds_mean(dtype, asked):
            with pytest.raises(DTypeError, match=f"{name}: dtype={asked} cannot hold the mean of {dtype} elements"):
                infer(name, [ArrayType((2,), dtype)], {"dtype": asked})


@pytest.mark.parametrize("name", ["sum", "prod", "min", "max"])
def test_initial_of_every_kind(name: str) -> None:
    values = [True, 3, -1, 300, 2**70, 2.5, 1e300, float("nan"), 1j, np.float32(1.5), np.complex64(2), np.int8(3)]
    for dtype, initial in product(SUPPORTED, values):
        assert_agrees(name, [ones(dtype)], {"initial": initial})


@given(st.sampled_from(REDUCTIONS), st.data())
def test_shapes_of_reductions(name: str, data: st.DataObject) -> None:
    shape = data.draw(shapes(max_side=3))
    array = np.ones(shape, data.draw(dtypes(foreign=False)))
    anything = axes(len(shape)) | st.integers(-6, 6) | st.lists(st.integers(-4, 4), max_size=3).map(tuple)
    choices: dict[str, st.SearchStrategy[Any]] = {
        "axis": anything,
        "keepdims": st.booleans(),
        "where": st.booleans() | shapes(max_side=3).map(lambda mask: np.ones(mask, bool)),
        "initial": st.just(1),
    }
    params = {
        key: data.draw(choices[key]) for key in OPERATIONS[name].params if key in choices and data.draw(st.booleans())
    }
    assert_agrees(name, [array], {key: value for key, value in params.items() if value is not None})


@pytest.mark.parametrize("name", REDUCTIONS + SCANS)
def test_arrays_without_dimensions(name: str) -> None:
    for axis in (None, 0, -1, 1, (), (0,)):
        params: dict[str, Any] = {} if axis is None else {"axis": axis}
        assert_agrees(name, [np.array(2.0)], params)
        if "where" in OPERATIONS[name].params:
            initial = {"initial": 1} if "initial" in OPERATIONS[name].params else {}
            for where in (True, False, np.array(True), np.ones(1, bool)):
                assert_agrees(name, [np.array(2.0)], {"where": where, **initial, **params})


@given(st.sampled_from(SCANS), st.data())
def test_shapes_of_scans(name: str, data: st.DataObject) -> None:
    shape = data.draw(shapes(max_side=3))
    axis = data.draw(axes(len(shape)) | st.integers(-6, 6))
    assert_agrees(name, [np.ones(shape)], {} if axis is None else {"axis": axis})


@given(st.sampled_from(UFUNCS), st.data())
def test_shapes_broadcast(name: str, data: st.DataObject) -> None:
    signature = OPERATIONS[name]
    dtype = np.dtype(int) if name in ("gcd", "lcm", "ldexp") or "bit" in name or "shift" in name else np.dtype(float)
    if name == "invert":
        dtype = np.dtype(bool)
    args = [np.ones(data.draw(shapes(max_side=3)), dtype) for _ in range(signature.max_args)]
    assert_agrees(name, args, {"part": 0} if signature.required else {})


@given(st.sampled_from(["add", "multiply", "less", "maximum", "where"]), st.data())
def test_scalars_mix_with_arrays(name: str, data: st.DataObject) -> None:
    scalar = python_scalars() | dtypes(foreign=False).flatmap(scalars)
    array = st.tuples(shapes(max_side=3), dtypes()).map(lambda pair: np.ones(*pair))
    args = [data.draw(scalar | array) for _ in range(OPERATIONS[name].max_args)]
    assert_agrees(name, args, {})


def test_operations_are_numpys_by_name() -> None:
    for name in OPERATIONS:
        assert name == "astype" or callable(getattr(np, name))
    for name in UFUNCS:
        assert getattr(np, name).__name__ == name


def test_every_ufunc_of_numpy_for_numbers_is_there() -> None:
    ufuncs = {value.__name__: value for value in vars(np).values() if isinstance(value, np.ufunc)}
    elementwise = {name for name, ufunc in ufuncs.items() if ufunc.signature is None}
    assert elementwise - set(UFUNCS) == {"isnat"}


def test_every_operation_is_described() -> None:
    for name, signature in OPERATIONS.items():
        assert signature.name == name
        assert signature.summary
        assert "\n" not in signature.summary
        assert set(signature.required) <= set(signature.params)
        assert 1 <= signature.min_args <= signature.max_args <= 3


def test_unknown_operation_names_similar_ones() -> None:
    with pytest.raises(UnknownOperationError, match=r"no operation 'sqr'.* mean sqrt or square or sort|sqrt"):
        signature_of("sqr")
    with pytest.raises(UnknownOperationError, match="no operation") as caught:
        infer("x" * 10**6, [])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "operands", "params", "error", "words"),
    [
        ("add", [1.0], {}, ParameterError, "add: takes 2 arguments, 1 given"),
        ("sqrt", [1.0, 2.0], {}, ParameterError, "sqrt: takes 1 argument, 2 given"),
        ("sum", [1.0], {"axes": 1}, ParameterError, "sum: no parameter 'axes': the parameters are axis, dtype"),
        ("astype", [1.0], {}, ParameterError, "astype: the parameter dtype is missing"),
        ("modf", [1.0], {}, ParameterError, "modf: the parameter part is missing: 0 or 1"),
        ("modf", [1.0], {"part": 2}, ParameterError, "modf: part must be 0 or 1, not 2"),
        ("sum", [1.0], {"keepdims": 1}, ParameterError, "sum: keepdims must be True or False, not 1"),
        ("sum", [1.0], {"axis": 1.5}, ParameterError, "sum: axis must be an integer or a tuple of integers, not 1.5"),
        ("argmin", [1.0], {"axis": (0,)}, ParameterError, r"argmin: axis must be one integer or None, not \(0,\)"),
        ("var", [1.0], {"ddof": "1"}, ParameterError, "var: ddof must be a real number, not '1'"),
        (
            "sum",
            [1.0],
            {"initial": ArrayType((), np.dtype(float))},
            ParameterError,
            "sum: initial must be a constant",
        ),
        ("sum", [1.0], {"dtype": np.dtype("O")}, DTypeError, "sum: dtype object is not supported; supported are bool,"),
        ("add", [1.0, np.str_("a")], {}, DTypeError, "add: "),
        ("add", [2**70, ArrayType((), np.dtype("O"))], {}, DTypeError, "add: dtype object is not supported"),
        (
            "add",
            [ArrayType((1 << 40, 1), np.dtype(bool)), ArrayType((1 << 40,), np.dtype(bool))],
            {},
            ShapeError,
            "add: shape .* is too big",
        ),
    ],
)
def test_refusals_name_operation_parameter_and_numbers(
    name: str, operands: list[Operand], params: dict[str, Any], error: type[ArraymillError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        infer(name, operands, params)
    assert caught.value.details["operation"] == name


def test_weak_scalars_have_default_dtypes_of_their_own() -> None:
    assert [operand_type(value).dtype for value in (True, 1, 1.0, 1j)] == [
        np.dtype(kind) for kind in (bool, int, float, complex)
    ]
    assert operand_type(np.float16(1)) == ArrayType((), np.dtype("f2"))
    with pytest.raises(DTypeError):
        operand_type(2**70)
