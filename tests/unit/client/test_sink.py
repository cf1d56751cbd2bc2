"""Result frames, in any pieces and any order, into new arrays and into the caller's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import Array, arrays, dtypes, shapes

from arraymill._sink import Coverage, ResultSink, check_out
from arraymill_proto.errors import DTypeError, InternalError, ParameterError, ShapeError, TooLargeError
from arraymill_proto.graph import ArrayType, Order


def cuts(data: st.DataObject, nbytes: int) -> list[tuple[int, int]]:
    """Ranges that cover some bytes: disjoint pieces, some of them twice, some that overlap, in any order."""
    edges = sorted({0, nbytes, *data.draw(st.lists(st.integers(0, nbytes), max_size=6))})
    pieces = list(itertools.pairwise(edges))
    extra = data.draw(st.lists(st.tuples(st.integers(0, nbytes), st.integers(0, nbytes)), max_size=3))
    return data.draw(st.permutations(pieces + [(min(pair), max(pair)) for pair in extra]))


def fill(sink: ResultSink, content: bytes, pieces: list[tuple[int, int]]) -> Any:
    for start, stop in pieces:
        sink.place(start, memoryview(content)[start:stop])
    return sink.finish()


def in_wire_order(array: Array, order: Order | None) -> bytes:
    return (array.transpose(order) if order else array).tobytes()


@given(arrays(dtype=dtypes(foreign=False)), st.data())
def test_any_cut_into_frames_gives_the_array(array: Array, data: st.DataObject) -> None:
    order = data.draw(st.none() | st.permutations(range(array.ndim)).map(tuple)) or None
    content = in_wire_order(array, order)
    result = fill(ResultSink(ArrayType(array.shape, array.dtype), order), content, cuts(data, len(content)))
    assert (result.shape, result.dtype, result.tobytes()) == (array.shape, array.dtype, array.tobytes())
    if array.ndim == 0:
        assert type(result) is array.dtype.type
        return
    assert type(result) is np.ndarray
    assert result.flags.writeable
    assert (result.transpose(order) if order else result).flags.c_contiguous


@given(dtypes(foreign=False), shapes(), st.booleans(), st.data())
def test_any_writable_array_can_be_filled(
    dtype: np.dtype[Any], shape: tuple[int, ...], detached: bool, data: st.DataObject
) -> None:
    array = data.draw(arrays(dtype=dtype, shape=shape))
    out = data.draw(arrays(dtype=dtype, shape=shape).filter(lambda given: given.flags.writeable))
    order = data.draw(st.none() | st.permutations(range(len(shape))).map(tuple)) or None
    content = in_wire_order(array, order)
    sink = ResultSink(ArrayType(shape, dtype), order, out=out, detached=detached)
    before = out.tobytes()
    pieces = cuts(data, len(content))
    for start, stop in pieces:
        sink.place(start, memoryview(content)[start:stop])
    if detached:
        assert out.tobytes() == before
    assert sink.finish() is out
    assert out.tobytes() == array.tobytes()


def test_the_caller_gets_back_what_it_gave() -> None:
    class Mine(np.ndarray[Any, np.dtype[Any]]):
        pass

    out = np.zeros((2, 3)).view(Mine)
    sink = ResultSink(ArrayType((2, 3), out.dtype), out=out)
    sink.place(0, memoryview(np.ones(6).tobytes()))
    assert sink.finish() is out
    assert out.sum() == 6
    scalar = np.zeros(())
    sink = ResultSink(ArrayType((), scalar.dtype), out=scalar)
    sink.place(0, memoryview(np.float64(7).tobytes()))
    assert sink.finish() is scalar
    assert scalar == 7


def test_only_the_elements_of_a_strided_out_are_written() -> None:
    whole = np.zeros((4, 6), np.int32)
    sink = ResultSink(ArrayType((2, 3), whole.dtype), (1, 0), out=whole[1::2, ::2])
    sink.place(0, memoryview(np.arange(1, 7, dtype=np.int32).tobytes()))
    sink.finish()
    assert whole[1::2, ::2].tolist() == [[1, 3, 5], [2, 4, 6]]
    assert np.count_nonzero(whole) == 6


@pytest.mark.parametrize("out", [None, np.zeros(3)])
@pytest.mark.parametrize(("offset", "length"), [(24, 1), (0, 25), (1 << 64, 1), (17, 8)])
def test_a_frame_beyond_the_end_is_the_servers_defect(offset: int, length: int, out: NDArray[Any] | None) -> None:
    sink = ResultSink(ArrayType((3,), np.dtype(float)), out=out)
    with pytest.raises(InternalError, match=rf"bytes {offset} to {offset + length} of a result of 24 bytes"):
        sink.place(offset, memoryview(bytes(length)))


def test_missing_frames_are_noticed() -> None:
    sink = ResultSink(ArrayType((3,), np.dtype(float)))
    sink.place(0, memoryview(bytes(8)))
    sink.place(16, memoryview(bytes(8)))
    with pytest.raises(InternalError, match="16 of 24 result bytes"):
        sink.finish()


def test_a_result_for_which_there_is_no_memory() -> None:
    type = ArrayType((1 << 40, 1 << 15), np.dtype("i1"))
    for order in (None, (1, 0)):
        with pytest.raises(TooLargeError, match="a result of 36,028,797,018,963,968 bytes: give out="):
            ResultSink(type, order)
    assert issubclass(TooLargeError, MemoryError)


def test_an_empty_result_needs_no_frame() -> None:
    result = ResultSink(ArrayType((0, 3), np.dtype("f4"))).finish()
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((0, 3), np.dtype("f4"))


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.zeros((3, 2)), ShapeError, r"out has shape \(3, 2\), the result has shape \(2, 3\)"),
        (np.zeros((2, 3), "f4"), DTypeError, "out has dtype float32, the result has dtype float64"),
        (np.zeros((2, 3), ">f8"), DTypeError, "out has dtype >f8, the result has dtype float64"),
        (np.broadcast_to(np.zeros(3), (2, 3)), ParameterError, "out is read-only"),
        (np.ma.zeros((2, 3)), ParameterError, "out is a masked array"),
    ],
)
def test_an_out_that_cannot_hold_the_result_is_refused(out: NDArray[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_out(out, ArrayType((2, 3), np.dtype(float)))
    with pytest.raises(error, match=message):
        ResultSink(ArrayType((2, 3), np.dtype(float)), out=out)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30))
def test_coverage_counts_every_byte_once(ranges: list[tuple[int, int]]) -> None:
    coverage = Coverage()
    seen: set[int] = set()
    for start, stop in ranges:
        coverage.add(start, stop)
        seen.update(range(start, stop))
        assert coverage.total == len(seen)


def test_coverage_of_frames_in_order_is_one_interval() -> None:
    coverage = Coverage()
    for start in range(0, 1000, 10):
        coverage.add(start, start + 10)
    assert vars(coverage)["_intervals"] == [(0, 1000)]
