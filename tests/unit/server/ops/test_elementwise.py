"""Every elementwise kernel gives NumPy's elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Array, arrays, dtypes, scalars

from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.dtypes import SUPPORTED
from arraymill_proto.errors import ComputationError
from arraymill_server.ops.elementwise import IN_PLACE, KERNELS, PLANNER_KERNELS, UFUNCS

pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

_ALL = KERNELS | PLANNER_KERNELS
_TWO_RESULTS = {"modf": np.modf, "frexp": np.frexp, "divmod": np.divmod}
_SAMPLES = [0, 1, 2, 3, 5, 7, 100]


def _values(dtype: np.dtype[Any], shift: int) -> Array:
    values = np.array(np.roll(_SAMPLES, shift)).astype(dtype)
    if dtype.kind in "ifc":
        values[::2] = -values[::2]
    if dtype.kind in "fc":
        values[1] = values[1] / 3
        values[3:5] = [np.nan, np.inf]
    return values


def _check(name: str, args: Sequence[Any], expected: Array, params: dict[str, Any] | None = None) -> None:
    expected = np.asarray(expected)
    out = np.full(expected.shape, 99).astype(expected.dtype)
    _ALL[name](args, out, params or {})
    assert out.tobytes() == expected.tobytes() or np.array_equal(out, expected, equal_nan=expected.dtype.kind in "fc")


def test_there_is_a_kernel_for_every_elementwise_operation() -> None:
    catalogue = OPERATIONS.values()
    assert set(KERNELS) == {signature.name for signature in catalogue if signature.kind is Kind.ELEMENTWISE}
    assert not set(KERNELS) & set(PLANNER_KERNELS)


@pytest.mark.parametrize("ufunc", [*UFUNCS, np.power], ids=lambda ufunc: ufunc.__name__)
def test_ufuncs_of_every_dtype(ufunc: np.ufunc) -> None:
    defined = 0
    for left in SUPPORTED:
        for right in SUPPORTED if ufunc.nin == 2 else [left]:
            args = [_values(left, 0), _values(right, 2)][: ufunc.nin]
            with np.errstate(all="ignore"):
                try:
                    expected = ufunc(*args)
                except (TypeError, ValueError):
                    continue
                _check(ufunc.__name__, args, expected)
                defined += 1
    assert defined


@pytest.mark.parametrize("ufunc", [ufunc for ufunc in UFUNCS if ufunc.nin == 2], ids=lambda ufunc: ufunc.__name__)
@pytest.mark.parametrize("scalar", [True, 2, 0.5, 1 + 2j, np.float32(3), np.int8(-3)], ids=repr)
def test_scalars_promote_as_numpys(ufunc: np.ufunc, scalar: Any) -> None:
    for dtype in SUPPORTED:
        for args in ([_values(dtype, 1), scalar], [scalar, _values(dtype, 1)]):
            with np.errstate(all="ignore"):
                try:
                    expected = ufunc(*args)
                except (TypeError, OverflowError):
                    continue
                _check(ufunc.__name__, args, expected)


@pytest.mark.parametrize("name", _TWO_RESULTS)
@pytest.mark.parametrize("part", [0, 1])
def test_parts_of_two_results(name: str, part: int) -> None:
    ufunc = _TWO_RESULTS[name]
    for dtype in SUPPORTED:
        args = [_values(dtype, 0), _values(dtype, 2)][: ufunc.nin]
        with np.errstate(all="ignore"):
            try:
                expected = ufunc(*args)
            except TypeError:
                continue
            _check(name, args, expected[part], {"part": part})


def test_a_ufunc_takes_the_loop_of_its_dtype() -> None:
    left, right = np.array([200, 100], np.uint8), np.array([100, 200], np.uint8)
    _check("add", [left, right], np.add(left, right, dtype=np.int64), {"dtype": "<i8"})
    _check("power", [left, left // 50], np.power(left, left // 50, dtype=np.float64), {"dtype": "<f8"})
    quotient = np.divmod(left, right, dtype=np.float32)[0]
    _check("divmod", [left, right], quotient, {"dtype": "<f4", "part": 0})


def test_integers_to_negative_powers_are_refused() -> None:
    with pytest.raises(ComputationError, match="negative integer powers"):
        KERNELS["power"]([np.array([2, 3]), np.array([1, -1])], np.empty(2, np.int64), {})


@given(arrays(), dtypes(foreign=False))
def test_astype(values: Array, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "iu" and values.dtype.kind in "fc":  # C leaves open what a float that does not fit becomes
        values = np.remainder(np.nan_to_num(np.real(values)), 100).astype(values.dtype)
    with np.errstate(all="ignore"):
        _check("astype", [values], values.astype(dtype), {"dtype": dtype.str})


@given(arrays())
def test_real_and_imag(values: Array) -> None:
    for name, function in (("real", np.real), ("imag", np.imag)):
        expected = np.asarray(function(values))
        _check(name, [values], expected.astype(expected.dtype.newbyteorder("=")))


@given(arrays(), st.integers(-3, 3))
def test_round(values: Array, decimals: int) -> None:
    with np.errstate(all="ignore"):
        try:
            expected = np.round(values, decimals)
        except TypeError:
            return
        _check("round", [values], expected.astype(expected.dtype.newbyteorder("=")), {"decimals": decimals})


@given(st.data(), dtypes("iuf", foreign=False))
def test_clip(data: st.DataObject, dtype: np.dtype[Any]) -> None:
    values = data.draw(arrays(dtype=dtype))
    low, high = data.draw(scalars(dtype)), data.draw(scalars(dtype) | st.just(5))
    _check("clip", [values, low, high], np.clip(values, low, high))
    _check("clip.min", [values, low], np.clip(values, low, None))
    _check("clip.max", [values, high], np.clip(values, None, high))


def test_clip_takes_python_integers_that_do_not_fit() -> None:
    values = np.array([1, 5, 250], np.uint8)
    _check("clip", [values, -1, 300], values)
    _check("clip.min", [values, -1], values)
    _check("clip.max", [values, 300], values)


@given(st.data(), arrays())
def test_where(data: st.DataObject, condition: Array) -> None:
    chosen = data.draw(arrays(shape=condition.shape))
    other = data.draw(scalars(np.dtype(np.float32)) | st.sampled_from([True, 1, 2.5, 3j]))
    expected = np.where(condition, chosen, other)
    _check("where", [condition, chosen, other], expected.astype(expected.dtype.newbyteorder("=")))


@pytest.mark.parametrize("condition", [True, 0, np.float64("nan"), np.bool_(False)])
def test_where_of_a_constant(condition: Any) -> None:
    chosen, other = np.arange(3), np.arange(3) * 2.5
    _check("where", [condition, chosen, other], np.where(condition, chosen, other))


@pytest.mark.parametrize("name", sorted(IN_PLACE))
def test_kernels_in_place_may_write_over_an_argument(name: str) -> None:
    kernel = _ALL[name]
    arity = 1 if name not in PLANNER_KERNELS and getattr(np, name).nin == 1 else 2
    for dtype in SUPPORTED:
        args = [_values(dtype, 0), _values(dtype, 2)][:arity]
        expected = np.empty_like(args[0])
        with np.errstate(all="ignore"):
            try:
                kernel(args, expected, {})
            except (TypeError, ComputationError):
                continue
            kernel(args, args[-1], {})
        assert args[-1].tobytes() == expected.tobytes()
