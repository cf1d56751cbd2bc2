"""Reductions of slabs, merged, against NumPy's reduction of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples
from strategies import Array, arrays, axes, dtypes, scalars

from arraymill_proto.catalogue import OPERATIONS, Kind, normalise_axes
from arraymill_proto.dtypes import SUPPORTED
from arraymill_proto.errors import ShapeError
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.spec import ReduceSpec, Scalar
from arraymill_server.plan.blocks import Grid

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

Parts = tuple[Array, ...]
Merges = Callable[[ReduceSpec, list[Parts]], Parts]

EXACT = ("min", "max", "any", "all", "count_nonzero", "ptp", "argmin", "argmax")
POSITIONS = ("argmin", "argmax")
few = examples(80)
slab_sizes = st.integers(1, 7)
native_arrays = arrays(dtype=dtypes(foreign=False))


def _merged(spec: ReduceSpec, left: Parts, right: Parts) -> Parts:
    out = tuple(np.full_like(part, 1) for part in left)
    REDUCTIONS[spec.op].merge(spec, left, right, out)
    return out


def in_turn(spec: ReduceSpec, parts: list[Parts]) -> Parts:
    """Merge each partial into the first, in place."""
    first = parts[0]
    for part in parts[1:]:
        REDUCTIONS[spec.op].merge(spec, first, part, first)
    return first


def in_pairs(spec: ReduceSpec, parts: list[Parts]) -> Parts:
    """Merge neighbours until one partial is left."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [_merged(spec, *pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


merges = st.sampled_from([in_turn, in_pairs])


def _slices(bounds: tuple[tuple[int, int], ...]) -> Any:
    return (*(slice(*pair) for pair in bounds), ...)


def _reduce(
    spec: ReduceSpec, x: Array, elements: int, *, where: Array | None = None, merge: Merges = in_turn
) -> np.ndarray[Any, Any]:
    """Reduce slab by slab; the result keeps its dimensions."""
    reduction = REDUCTIONS[spec.op]
    kept = tuple(1 if axis in spec.axes else length for axis, length in enumerate(x.shape))
    parts = tuple(np.empty(kept, dtype) for dtype in reduction.components(spec))
    cells: dict[tuple[tuple[int, int], ...], list[Parts]] = {}
    grid = Grid.cut(x.shape, 1, elements)
    for number in range(len(grid)):
        start, shape = grid.block(number)
        cut = tuple((first, first + length) for first, length in zip(start, shape, strict=True))
        cell = tuple((0, 1) if axis in spec.axes else bounds for axis, bounds in enumerate(cut))
        out = tuple(np.empty_like(part[_slices(cell)]) for part in parts)
        chosen = None if where is None else where[_slices(cut)]
        reduction.step(spec, x[_slices(cut)], chosen, start, out)
        cells.setdefault(cell, []).append(out)
    if not x.size:
        reduction.identity(spec, parts)
    for cell, partials in cells.items():
        for part, value in zip(parts, merge(spec, partials), strict=True):
            part[_slices(cell)] = value
    result = np.empty(kept, spec.result)
    count = int(np.prod([x.shape[axis] for axis in spec.axes]))
    reduction.finish(spec, parts, count, result)
    return result


def _spec(op: str, x: Array, axis: Any, result: np.dtype[Any], **more: Any) -> ReduceSpec:
    flat = x.shape if op in POSITIONS and axis is None else ()
    chosen = tuple(sorted(normalise_axes(axis, x.ndim)))
    source = x.dtype.newbyteorder("=").str
    return ReduceSpec(op, chosen, source, np.dtype(result).newbyteorder("=").str, flat=flat, **more)


def _expect(op: str, x: Array, axis: Any, **more: Any) -> Array:
    """Ask NumPy; skip what it refuses."""
    try:
        return np.asarray(getattr(np, op)(x, axis=axis, keepdims=True, **more))
    except (TypeError, ValueError):
        assume(condition=False)
        raise


def _moderate(x: Array) -> Array:
    """Bring elements to where sums and products round but do not overflow."""
    if x.dtype.kind == "f":
        return np.nan_to_num(np.remainder(x, 3) / 3 + 0.5, nan=1).astype(x.dtype)
    if x.dtype.kind == "c":
        moderate = _moderate(np.real(x)) + 1j * _moderate(np.imag(x))
        return (moderate / 2).astype(x.dtype)  # of about 1: beyond infinity a product depends on the order
    return x


def _assert_close(ours: Array, numpys: Array, scale: float = 1.0) -> None:
    """Equal for exact dtypes; within a few roundings of the result's dtype else."""
    assert ours.dtype == numpys.dtype.newbyteorder("=")
    if ours.dtype.kind not in "fc":
        np.testing.assert_array_equal(ours, numpys)
        return
    eps = float(np.finfo(ours.dtype).eps)
    np.testing.assert_allclose(ours, numpys, rtol=100 * eps, atol=100 * eps * scale)


def test_there_is_a_reduction_for_every_name_of_the_catalogue() -> None:
    catalogue = OPERATIONS.values()
    assert set(REDUCTIONS) == {signature.name for signature in catalogue if signature.kind is Kind.REDUCTION}
    assert all(name == reduction.name for name, reduction in REDUCTIONS.items())


@pytest.mark.parametrize("op", EXACT)
@few
@given(data=st.data(), x=native_arrays, elements=slab_sizes, merge=merges)
def test_exact_reductions_equal_numpys(op: str, data: st.DataObject, x: Array, elements: int, merge: Merges) -> None:
    axis = data.draw(axes(x.ndim, tuples=op not in POSITIONS))
    expected = _expect(op, x, axis)
    ours = _reduce(_spec(op, x, axis, expected.dtype), x, elements, merge=merge)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("op", ["sum", "prod", "mean", "var", "std"])
@few
@given(data=st.data(), raw=native_arrays, elements=slab_sizes, merge=merges)
def test_rounding_reductions_are_close_to_numpys(
    op: str, data: st.DataObject, raw: Array, elements: int, merge: Merges
) -> None:
    x = _moderate(raw)
    axis = data.draw(axes(x.ndim))
    expected = _expect(op, x, axis)
    scale = float(np.max(np.abs(x.astype(np.complex128)), initial=0)) ** 2 if op in ("var", "std", "mean") else 1.0
    ours = _reduce(_spec(op, x, axis, expected.dtype), x, elements, merge=merge)
    _assert_close(ours, expected, scale=scale if op != "std" else scale**0.5)


@pytest.mark.parametrize("op", ["sum", "prod", "mean"])
@few
@given(data=st.data(), raw=native_arrays, dtype=dtypes(foreign=False), elements=slab_sizes)
def test_an_explicit_dtype_casts_elements_first(
    op: str, data: st.DataObject, raw: Array, dtype: np.dtype[Any], elements: int
) -> None:
    x = _moderate(raw)
    assume(not (x.dtype.kind in "iu" and dtype == np.float16))
    axis = data.draw(axes(x.ndim))
    expected = _expect(op, x, axis, dtype=dtype)
    ours = _reduce(_spec(op, x, axis, expected.dtype, dtype=dtype.str), x, elements)
    scale = float(np.max(np.abs(x.astype(np.complex128)), initial=1)) if op == "mean" else 1.0
    if np.isfinite(expected.astype(np.complex128)).all():
        _assert_close(ours, expected, scale=scale)


@pytest.mark.parametrize("op", ["sum", "prod", "mean", "var", "std", "min", "max", "any", "all"])
@few
@given(data=st.data(), raw=native_arrays, elements=slab_sizes, merge=merges)
def test_masks(op: str, data: st.DataObject, raw: Array, elements: int, merge: Merges) -> None:
    x = _moderate(raw)
    where = data.draw(arrays(dtype=np.dtype(np.bool_), shape=x.shape))
    axis = data.draw(axes(x.ndim))
    initial: dict[str, Any] = (
        {"initial": data.draw(scalars(x.dtype.newbyteorder("="), finite=True))} if op in ("min", "max") else {}
    )
    expected = _expect(op, x, axis, where=where, **initial)
    spec = _spec(op, x, axis, expected.dtype, masked=True, initial=Scalar.of(initial["initial"]) if initial else None)
    ours = _reduce(spec, x, elements, where=where, merge=merge)
    _assert_close(ours, expected, scale=float(np.max(np.abs(x.astype(np.complex128)), initial=1)) ** 2)


@pytest.mark.parametrize("op", ["sum", "prod", "min", "max"])
@few
@given(data=st.data(), raw=native_arrays, elements=slab_sizes)
def test_initial_enters_once(op: str, data: st.DataObject, raw: Array, elements: int) -> None:
    x = _moderate(raw)
    axis = data.draw(axes(x.ndim))
    values: list[Any] = [0, 2, True, 1.75, np.float32(3), np.int8(-3), 2 + 1j]
    initial = data.draw(st.sampled_from(values))
    expected = _expect(op, x, axis, initial=initial)
    ours = _reduce(_spec(op, x, axis, expected.dtype, initial=Scalar.of(initial)), x, elements)
    _assert_close(ours, expected, scale=4.0)


@few
@given(raw=native_arrays, data=st.data(), ddof=st.sampled_from([0, 1, 1.5, 3, -1, 1000]), elements=slab_sizes)
def test_degrees_of_freedom(raw: Array, data: st.DataObject, ddof: float, elements: int) -> None:
    x = _moderate(raw)
    axis = data.draw(axes(x.ndim))
    expected = _expect("var", x, axis, ddof=ddof)
    ours = _reduce(_spec("var", x, axis, expected.dtype, ddof=ddof), x, elements)
    scale = float(np.max(np.abs(x.astype(np.complex128)), initial=1)) ** 2
    np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(expected))
    finite = np.isfinite(expected) & (expected != 0)
    _assert_close(ours[finite], expected[finite], scale=scale)


_SPECIAL = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0]), min_size=1, max_size=20)


@pytest.mark.parametrize("op", ["sum", "prod", "mean", "var", "std", "min", "max", "ptp", "argmin", "argmax"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@examples(40)
@given(values=_SPECIAL, elements=slab_sizes, merge=merges)
def test_what_is_not_finite_comes_out_as_numpys(
    op: str, dtype: type[np.generic], values: list[float], elements: int, merge: Merges
) -> None:
    x = np.array(values, dtype)
    expected = _expect(op, x, None)
    ours = _reduce(_spec(op, x, None, expected.dtype), x, elements, merge=merge)
    np.testing.assert_allclose(ours, expected, rtol=1e-2)


@pytest.mark.parametrize("op", sorted(REDUCTIONS))
def test_the_reduction_of_nothing(op: str) -> None:
    for dtype in SUPPORTED:
        x = np.empty((2, 0), dtype)
        try:
            expected = np.asarray(getattr(np, op)(x, axis=1, keepdims=True))
        except ValueError:
            with pytest.raises(ShapeError):
                _reduce(_spec(op, x, 1, dtype), x, 3)
        except TypeError:
            assert (op, dtype.kind) == ("ptp", "b"), "the only one that NumPy does not have"
        else:
            np.testing.assert_array_equal(_reduce(_spec(op, x, 1, expected.dtype), x, 3), expected)


def test_identities_take_initial() -> None:
    x = np.empty(0)
    assert _reduce(_spec("max", x, 0, x.dtype, initial=Scalar.of(-3)), x, 1) == -3
    assert _reduce(_spec("sum", x, 0, x.dtype, initial=Scalar.of(2.5)), x, 1) == 2.5


@pytest.mark.parametrize("op", ["sum", "mean", "var", "std"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64])
def test_many_slabs_are_as_exact_as_one(op: str, dtype: type[np.generic]) -> None:
    values = np.random.default_rng(7).random(20_000) / (2 if op == "sum" else 0.25) + 0.25
    x = values.astype(dtype)
    is_complex = x.dtype.kind == "c"
    exact = getattr(np, op)(x.astype(np.complex128 if is_complex else np.float64))
    result: np.dtype[Any] = np.dtype(np.float32) if is_complex and op in ("var", "std") else x.dtype
    ours = _reduce(_spec(op, x, None, result), x, 37)
    assert abs(ours[0] - exact) <= 2 * float(np.finfo(np.zeros(1, result).dtype).eps) * abs(exact)


def test_variance_survives_a_large_mean() -> None:
    x = 1e9 + np.random.default_rng(3).standard_normal(10_000)
    ours = _reduce(_spec("var", x, None, x.dtype), x, 64, merge=in_pairs)
    np.testing.assert_allclose(ours, np.var(x), rtol=1e-6)


@pytest.mark.parametrize("values", [[1.7e308] * 4, [1.7e308, 1.7e308, 1.0, 1.7e308, 1.7e308]])
def test_variance_overflows_to_infinity(values: list[float]) -> None:
    x = np.array(values)
    ours = _reduce(_spec("var", x, None, x.dtype), x, 2)
    assert np.isposinf(ours).all()


def test_a_slab_that_is_masked_out_does_not_spoil_the_variance() -> None:
    x, where = np.array([0, 0, 1e200, 1e200, np.inf, np.nan]), np.array([False, False, True, True, False, False])
    ours = _reduce(_spec("var", x, None, x.dtype, masked=True), x, 2, where=where)
    assert ours.tolist() == [0]


def test_integers_wrap() -> None:
    x = np.full(9, 100, np.int8)
    expected = np.sum(x, dtype=np.int8)
    assert _reduce(_spec("sum", x, 0, np.dtype(np.int8), dtype="|i1"), x, 2) == expected


@pytest.mark.parametrize("op", POSITIONS)
def test_ties_go_to_the_first(op: str) -> None:
    x = np.array([[1, 0, 2, 0], [2, 0, 2, 1]])
    for axis in (None, 0, 1):
        expected = _expect(op, x, axis)
        for elements in range(1, 9):
            np.testing.assert_array_equal(_reduce(_spec(op, x, axis, expected.dtype), x, elements), expected)
