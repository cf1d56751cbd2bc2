"""Scans of blocks in pieces, joined by carries, against NumPy's scan of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples
from strategies import Array, arrays, dtypes

from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_server.ops.elementwise import PLANNER_KERNELS
from arraymill_server.ops.scans import SCANS
from arraymill_server.ops.spec import ScanSpec

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

Parts = tuple[Array, ...]

few = examples(80)
sizes = st.integers(1, 7)
native_arrays = arrays(dtype=dtypes(foreign=False), finite=True)
ops = pytest.mark.parametrize("op", sorted(SCANS))


def _along(axis: int, first: int, last: int) -> Any:
    return (*(slice(None),) * axis, slice(first, last), ...)


def _parts(spec: ScanSpec, shape: tuple[int, ...]) -> Parts:
    return tuple(np.empty(shape, dtype) for dtype in SCANS[spec.op].components(spec))


def _scan(spec: ScanSpec, x: Array, rows: int, pieces: int) -> np.ndarray[Any, Any]:
    """Scan blocks of `pieces` pieces of `rows` elements along the axis, then apply the carries."""
    scan, axis = SCANS[spec.op], spec.axis
    cell = tuple(1 if a == axis else length for a, length in enumerate(x.shape))
    out = np.empty(x.shape, spec.result)
    carry, total = _parts(spec, cell), _parts(spec, cell)
    scan.identity(spec, carry)
    for block in range(0, x.shape[axis], rows * pieces):
        end = min(block + rows * pieces, x.shape[axis])
        for first in range(block, end, rows):
            cut = _along(axis, first, min(first + rows, end))
            scan.step(spec, x[cut], out[cut], total, first=first == block)
        local = out[_along(axis, block, end)]
        PLANNER_KERNELS[scan.kernel]([local.copy(), carry[-1]], local, {})
        joined = _parts(spec, cell)
        scan.carry(spec, carry, total, joined)
        carry = joined
    return out


def _spec(op: str, x: Array, axis: int, result: np.dtype[Any]) -> ScanSpec:
    return ScanSpec(op, axis, x.dtype.str, result.str)


def _tame(x: Array) -> Array:
    """Bring floats near 1, so that products stay finite."""
    if x.dtype.kind not in "fc":
        return x
    tame: Array = (1 + np.remainder(np.real(x), 3) / 8).astype(x.dtype)
    return tame


def _assert_close(ours: Array, numpys: Array) -> None:
    assert ours.dtype == numpys.dtype
    eps = float(np.finfo(ours.dtype).eps) if ours.dtype.kind in "fc" else 0
    np.testing.assert_allclose(ours, numpys, rtol=64 * eps, atol=64 * eps)


def test_there_is_a_scan_for_every_name_of_the_catalogue() -> None:
    assert set(SCANS) == {signature.name for signature in OPERATIONS.values() if signature.kind is Kind.SCAN}
    assert {scan.kernel for scan in SCANS.values()} <= set(PLANNER_KERNELS)


@ops
@few
@given(data=st.data(), raw=native_arrays, rows=sizes, pieces=sizes)
def test_scans_of_every_dtype_along_every_axis(
    op: str, data: st.DataObject, raw: Array, rows: int, pieces: int
) -> None:
    x = _tame(raw)
    assume(x.ndim > 0)
    axis = data.draw(st.integers(0, x.ndim - 1))
    expected = getattr(np, op)(x, axis=axis)
    _assert_close(_scan(_spec(op, x, axis, expected.dtype), x, rows, pieces), expected)


@ops
@few
@given(raw=native_arrays, dtype=dtypes(foreign=False), rows=sizes, pieces=sizes)
def test_an_explicit_dtype_casts_elements_first(
    op: str, raw: Array, dtype: np.dtype[Any], rows: int, pieces: int
) -> None:
    x = _tame(raw)
    assume(x.ndim > 0 and not (x.dtype.kind in "iu" and dtype.kind == "f"))
    expected = getattr(np, op)(x, axis=0, dtype=dtype)
    _assert_close(_scan(_spec(op, x, 0, dtype), x, rows, pieces), expected)


@ops
@few
@given(values=st.lists(st.floats(), min_size=1, max_size=30), rows=sizes)
def test_pieces_of_one_block_have_numpys_bits(op: str, values: list[float], rows: int) -> None:
    x = np.array(values)
    ours = _scan(_spec(op, x, 0, x.dtype), x, rows, 100)
    np.testing.assert_array_equal(ours, getattr(np, op)(x))


@few
@given(signs=st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, np.nan]), min_size=1, max_size=12), rows=sizes)
def test_signs_of_zeros_survive(signs: list[float], rows: int) -> None:
    for dtype in (np.float32, np.float64, np.complex64):
        x: Array = np.array(signs).astype(dtype)
        expected = np.cumsum(x)
        ours = _scan(_spec("cumsum", x, 0, x.dtype), x, rows, 2)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(np.signbit(np.real(ours)), np.signbit(np.real(expected)))


def test_narrow_floats_are_rounded_once() -> None:
    x = np.full(10_000, 0.1, np.float32)
    exact = np.cumsum(x.astype(np.float64))
    ours = _scan(_spec("cumsum", x, 0, x.dtype), x, 100, 200)
    np.testing.assert_allclose(ours, exact, rtol=float(np.finfo(np.float32).eps))


def test_the_last_component_has_the_dtype_of_the_result() -> None:
    for result in ("<f2", "<f4", "<f8", "<c8", "<i4"):
        spec = ScanSpec("cumsum", 0, result, result)
        assert SCANS["cumsum"].components(spec)[-1] == np.dtype(result)
    assert len(SCANS["cumsum"].components(ScanSpec("cumsum", 0, "<f4", "<f4"))) == 2
    assert len(SCANS["cumsum"].components(ScanSpec("cumsum", 0, "<f8", "<f8"))) == 1


def test_a_complex_product_that_overflows_is_numpys() -> None:
    x = np.array([1e30, 1e30, 2, 1 + 1j]).astype(np.complex64)
    for rows in (1, 2, 4):
        np.testing.assert_array_equal(_scan(_spec("cumprod", x, 0, x.dtype), x, rows, 1)[:2], np.cumprod(x)[:2])
