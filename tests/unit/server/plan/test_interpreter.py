"""Tasks run by the interpreter, in pieces of a few elements, against NumPy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import prod
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples
from strategies import Array, arrays, axes, dtypes

from arraymill_proto.catalogue import normalise_axes
from arraymill_proto.errors import ComputationError, InternalError, ShapeError
from arraymill_server.arena.memory import Memory
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.scans import SCANS
from arraymill_server.ops.spec import ReduceSpec, Scalar, ScanSpec
from arraymill_server.plan.blocks import BLOCK_BYTES, Grid
from arraymill_server.plan.interpreter import PROGRAMS, Interpreter
from arraymill_server.plan.program import (
    BlockTask,
    CarryTask,
    FinishTask,
    MergeTask,
    Program,
    ProgramRef,
    Reduce,
    Region,
    Scan,
    Step,
    Store,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

Shape = tuple[int, ...]

few = examples(80)
piece_sizes = st.integers(1, 56)
"""Bytes: 1 to 7 elements of eight bytes, and less than one element."""


class Bench:
    """An arena, an interpreter, and what a planner would do with them."""

    def __init__(self, piece_bytes: int = 24, size: int = 1 << 18) -> None:
        self.memory = np.zeros(size, np.uint8)
        self.space = Memory(self.memory)
        self.interpreter = Interpreter(self.space, piece_bytes=piece_bytes)
        self._used = 0

    def empty(self, shape: Shape, dtype: Any) -> np.ndarray[Any, Any]:
        """Return an array in the arena, filled with rubbish."""
        view = np.ndarray(shape, dtype, self.memory, self._used)
        end = self._used + -(-max(view.nbytes, 1) // 64) * 64
        self.memory[self._used : end] = 0xA5
        self._used = end
        return view

    def put(self, values: Array) -> np.ndarray[Any, Any]:
        view = self.empty(values.shape, values.dtype)
        view[...] = values
        return view

    def region(self, view: Array) -> Region:
        return Region(view.ctypes.data - self.memory.ctypes.data, view.shape, view.strides)

    def program(self, program: Program) -> ProgramRef:
        data = msgspec.msgpack.encode(program)
        place = self.put(np.frombuffer(data, np.uint8))
        return ProgramRef(blake2b(data, digest_size=16).digest(), self.region(place).offset, len(data))

    def block(
        self,
        program: Program,
        domain: Shape,
        operands: Sequence[Array],
        outputs: Sequence[Sequence[Array]],
        start: Shape | None = None,
    ) -> BlockTask:
        """Run a program on one block."""
        task = BlockTask(
            self.program(program),
            (0,) * len(domain) if start is None else start,
            domain,
            tuple(map(self.region, operands)),
            tuple(tuple(map(self.region, regions)) for regions in outputs),
        )
        self.interpreter.run(task)
        return task


def _store(dtype: Any, arg: int = 0) -> Store:
    return Store(arg, np.dtype(dtype).str)


def _cut(start: Shape, shape: Shape) -> Any:
    return (*(slice(first, first + length) for first, length in zip(start, shape, strict=True)), ...)


# ---------------------------------------------------------------------------------------------------- elementwise

_OPS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "multiply": np.multiply,
    "subtract": np.subtract,
    "maximum": np.maximum,
    "less": np.less,
    "negative": np.negative,
    "sqrt": np.sqrt,
    "where": np.where,
}


@st.composite
def _programs(draw: st.DrawFn) -> tuple[Program, Shape, list[Array], list[Array]]:
    """A program of random steps, with its domain, its operands, and NumPy's value of every register."""
    domain = draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
    operands: list[Array] = []
    for _ in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.sampled_from([1, length])) for length in domain)
        operands.append(draw(arrays(dtype=dtypes("iuf"), shape=shape)))
    values: list[Any] = [operand.astype(operand.dtype.newbyteorder("=")) for operand in operands]
    constants: list[Any] = [2, 0.5, np.float32(3)]
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 8))):
        name = draw(st.sampled_from(sorted(_OPS)))
        arity = 3 if name == "where" else getattr(np, name).nin
        args = tuple(draw(st.integers(-len(constants), len(values) - 1)) for _ in range(arity))
        try:
            value = np.asarray(_OPS[name](*[values[arg] if arg >= 0 else constants[-arg - 1] for arg in args]))
        except (TypeError, OverflowError):
            continue
        steps.append(Step(name, args, value.dtype.str))
        values.append(value)
    chosen = draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=4))
    sinks = tuple(Store(arg, values[arg].dtype.str) for arg in chosen)
    strings = tuple(operand.dtype.str for operand in operands)
    program = Program(strings, tuple(map(Scalar.of, constants)), tuple(steps), sinks)
    return program, domain, operands, values


@examples(300)
@given(_programs(), piece_sizes)
def test_programs_compute_what_numpy_computes(
    drawn: tuple[Program, Shape, list[Array], list[Array]], piece_bytes: int
) -> None:
    program, domain, operands, values = drawn
    bench = Bench(piece_bytes)
    placed = [bench.put(operand) for operand in operands]
    outputs = [bench.empty(domain, sink.dtype) for sink in program.sinks if isinstance(sink, Store)]
    bench.block(program, domain, placed, [[output] for output in outputs])
    for sink, output in zip(program.sinks, outputs, strict=True):
        np.testing.assert_array_equal(output, np.broadcast_to(values[sink.arg], domain))
    for place, operand in zip(placed, operands, strict=True):
        assert place.tobytes() == operand.tobytes()


@few
@given(arrays(dtype=dtypes("biufc")), dtypes(foreign=False), piece_sizes)
def test_a_store_casts_and_reads_any_byte_order(values: Array, dtype: np.dtype[Any], piece_bytes: int) -> None:
    assume(not (values.dtype.kind == "c" and dtype.kind not in "cb"))
    if dtype.kind in "iu" and values.dtype.kind == "f":  # C leaves open what a float that does not fit becomes
        values = np.remainder(np.nan_to_num(values), 100).astype(values.dtype)
    bench = Bench(piece_bytes)
    out = bench.empty(values.shape, dtype)
    bench.block(Program((values.dtype.str,), (), (), (_store(dtype),)), values.shape, [bench.put(values)], [[out]])
    np.testing.assert_array_equal(out, values.astype(dtype))


def test_strides_of_every_kind_are_read_and_written() -> None:
    bench = Bench()
    whole = bench.put(np.arange(48.0).reshape(4, 12))
    source, target = whole[::-1, 1::3], bench.empty((4, 4), np.float64).T
    program = Program(("<f8",), (Scalar.of(1),), (Step("add", (0, -1), "<f8"),), (_store("<f8", 1),))
    bench.block(program, (4, 4), [source], [[target]])
    np.testing.assert_array_equal(target, source + 1)


def test_zero_strides_repeat_an_element() -> None:
    bench = Bench()
    source = np.lib.stride_tricks.as_strided(bench.put(np.array([7.0])), (3, 2), (0, 0))
    out = bench.empty((3, 2), "<f8")
    bench.block(Program(("<f8",), (), (), (_store("<f8"),)), (3, 2), [source], [[out]])
    assert out.tolist() == [[7, 7]] * 3


def test_a_small_register_is_stored_broadcast() -> None:
    bench = Bench()
    out, row = bench.empty((3, 4), "<f4"), bench.empty((1, 4), "<f8")
    program = Program(
        ("<f8",), (), (Step("square", (0,), "<f8"),), (_store("<f4", 1), _store("<f8", 1), _store("<f8", 0))
    )
    source, copy = bench.put(np.arange(4.0)[None]), bench.empty((1, 4), "<f8")
    bench.block(program, (3, 4), [source], [[out], [row], [copy]])
    assert out.tolist() == [[0, 1, 4, 9]] * 3
    assert row.tolist() == [[0, 1, 4, 9]]
    assert copy.tolist() == source.tolist()


def test_constants_are_stored_and_computed() -> None:
    bench = Bench()
    out, total = bench.empty((5,), "<i8"), bench.empty((5,), "|u1")
    constants = (Scalar.of(3), Scalar.of(4), Scalar.of(np.uint8(250)))
    program = Program((), constants, (Step("add", (-1, -2), "<i8"),), (_store("<i8", 0), _store("|u1", -3)))
    bench.block(program, (5,), [], [[out], [total]])
    assert out.tolist() == [7] * 5
    assert total.tolist() == [250] * 5


def test_a_block_without_dimensions() -> None:
    bench = Bench()
    out = bench.empty((), "<f8")
    program = Program((">f8",), (Scalar.of(1.0),), (Step("add", (0, -1), "<f8"),), (_store("<f8", 1),))
    bench.block(program, (), [bench.put(np.array(2.0, ">f8"))], [[out]])
    assert out == 3


def test_programs_wider_than_the_scratch_memory_get_smaller_pieces() -> None:
    bench = Bench(piece_bytes=512 << 10, size=1 << 22)
    width = 400
    x = bench.put(np.arange(20_000.0))
    constants = tuple(Scalar.of(float(number)) for number in range(width))
    steps = [Step("multiply", (0, -1 - number), "<f8") for number in range(width)]
    for number in range(1, width):
        left = 1 if number == 1 else width + number - 1
        steps.append(Step("add", (left, 1 + number), "<f8"))
    out = bench.empty(x.shape, "<f8")
    bench.block(Program(("<f8",), constants, tuple(steps), (_store("<f8", len(steps)),)), x.shape, [x], [[out]])
    np.testing.assert_array_equal(out, x * sum(range(width)))


def test_no_temporary_of_a_blocks_size_is_made() -> None:
    bench = Bench(piece_bytes=64 << 10, size=3 * BLOCK_BYTES)
    x = bench.put(np.ones(BLOCK_BYTES // 8))
    out = bench.empty(x.shape, "<f8")
    steps = (Step("multiply", (0, 0), "<f8"), Step("add", (1, -1), "<f8"), Step("sqrt", (2,), "<f8"))
    program = Program(("<f8",), (Scalar.of(3),), steps, (_store("<f8", 3),))
    tracemalloc.start()
    try:
        bench.block(program, x.shape, [x], [[out]])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000
    assert (out == 2).all()


# ---------------------------------------------------------------------------------------------------- reductions


def _reduce(
    bench: Bench, x: Array, spec: ReduceSpec, elements: int, *, where: Array | None = None, computed: bool = False
) -> np.ndarray[Any, Any]:
    """Reduce block by block, merge in a fixed order through tasks, and finish."""
    dtypes_ = REDUCTIONS[spec.op].components(spec)
    steps: tuple[Step, ...] = ()
    operands = [bench.put(x), *([] if where is None else [bench.put(where)])]
    strings = tuple(operand.dtype.str for operand in operands)
    arg, mask = 0, 1
    if computed:
        arg, mask = 4, 3
        steps = (
            Step("logical_not", (1,), "|b1"),
            Step("logical_not", (2,), "|b1"),
            Step("positive", (0,), spec.source),
        )
        if where is None:
            arg, steps = 1, steps[-1:]
    program = Program(strings, (), steps, (Reduce(arg, spec, None if where is None else mask),))
    grid = Grid.cut(x.shape, 1, elements)
    cells: dict[Shape, list[np.ndarray[Any, Any]]] = {}
    for number in range(len(grid)):
        start, shape = grid.block(number)
        kept = tuple(1 if axis in spec.axes else length for axis, length in enumerate(shape))
        parts = [bench.empty(kept, dtype) for dtype in dtypes_]
        bench.block(program, shape, [operand[_cut(start, shape)] for operand in operands], [parts], start)
        cell = tuple(0 if axis in spec.axes else first for axis, first in enumerate(start))
        if cell in cells:
            merged = [bench.empty(kept, dtype) for dtype in dtypes_]
            left, right, out = (tuple(map(bench.region, group)) for group in (cells[cell], parts, merged))
            bench.interpreter.run(MergeTask(spec, left, right, out))
            parts = merged
        cells[cell] = parts
    kept = tuple(1 if axis in spec.axes else length for axis, length in enumerate(x.shape))
    result = bench.empty(kept, spec.result)
    count = prod(x.shape[axis] for axis in spec.axes)
    for cell, parts in cells.items():
        out = result[_cut(cell, parts[0].shape)]
        task = FinishTask(spec, count, tuple(map(bench.region, parts)), bench.region(out))
        bench.interpreter.run(task)
    return result


@pytest.mark.parametrize("op", sorted(REDUCTIONS))
@few
@given(data=st.data(), elements=st.integers(1, 30), piece_bytes=piece_sizes, computed=st.booleans())
def test_reductions_in_blocks_and_pieces(
    op: str, data: st.DataObject, elements: int, piece_bytes: int, computed: bool
) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
    kinds = dtypes("iuf") if op == "ptp" or computed else dtypes("biuf")
    x = np.remainder(data.draw(arrays(dtype=kinds, shape=shape, finite=True)).astype(np.float64), 9)
    x = x.astype(data.draw(kinds))
    positions = op in ("argmin", "argmax")
    axis = data.draw(axes(x.ndim, tuples=not positions))
    expected = np.asarray(getattr(np, op)(x, axis=axis, keepdims=True))
    chosen = tuple(sorted(normalise_axes(axis, x.ndim)))
    flat = x.shape if positions and axis is None else ()
    source, result = x.dtype.newbyteorder("=").str, expected.dtype.newbyteorder("=")
    spec = ReduceSpec(op, chosen, source, result.str, flat=flat)
    ours = _reduce(Bench(piece_bytes), x, spec, elements, computed=computed)
    assert ours.dtype == result
    eps = float(np.finfo(result).eps) if result.kind == "f" else 0.0
    np.testing.assert_allclose(ours, expected, rtol=64 * eps, atol=64 * eps)


@few
@given(data=st.data(), elements=st.integers(1, 30), piece_bytes=piece_sizes, computed=st.booleans())
def test_masked_reductions(data: st.DataObject, elements: int, piece_bytes: int, computed: bool) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), max_size=3).map(tuple))
    x = data.draw(arrays(dtype=dtypes("iu"), shape=shape))
    where = data.draw(arrays(dtype=np.dtype(np.bool_), shape=shape))
    axis = data.draw(axes(x.ndim))
    expected = np.sum(x, axis=axis, keepdims=True, where=where, initial=7)
    chosen = tuple(sorted(normalise_axes(axis, x.ndim)))
    source, result = x.dtype.newbyteorder("=").str, np.asarray(expected).dtype.str
    spec = ReduceSpec("sum", chosen, source, result, masked=True, initial=Scalar.of(7))
    ours = _reduce(Bench(piece_bytes), x, spec, elements, where=where, computed=computed)
    np.testing.assert_array_equal(ours, expected)


def test_small_registers_and_constants_are_reduced_broadcast() -> None:
    bench = Bench()
    sums, means = [bench.empty((1, 1), "<f8")], [bench.empty((3, 1), "<f8"), bench.empty((3, 1), "<i8")]
    total = ReduceSpec("sum", (0, 1), "<f8", "<f8")
    mean = ReduceSpec("mean", (1,), "<f8", "<f8", masked=True)
    program = Program(("<f8", "|b1"), (Scalar.of(2.0),), (), (Reduce(-1, total), Reduce(0, mean, where=1)))
    mask = bench.put(np.array([[True], [False], [True]]))
    bench.block(program, (3, 4), [bench.put(np.arange(4.0)[None]), mask], [sums, means])
    assert sums[0].item() == 24
    assert means[0].ravel().tolist() == [6, 0, 6]
    assert means[1].ravel().tolist() == [4, 0, 4]


def test_an_empty_block_gives_identities() -> None:
    bench = Bench()
    parts, carry = [bench.empty((1, 3), "<f8")], [bench.empty((0, 3), "<f8"), bench.empty((1, 3), "<f8")]
    spec, scan = ReduceSpec("sum", (0,), "<f8", "<f8"), ScanSpec("cumsum", 0, "<f8", "<f8")
    program = Program(("<f8",), (), (), (Reduce(0, spec), Scan(0, scan)))
    x = bench.put(np.empty((0, 3)))
    bench.block(program, (0, 3), [x], [parts, carry])
    assert parts[0].tolist() == [[0, 0, 0]]
    assert np.signbit(carry[1]).all()
    refused = Program(("<f8",), (), (), (Reduce(0, ReduceSpec("min", (0,), "<f8", "<f8")),))
    with pytest.raises(ShapeError, match="no identity"):
        bench.block(refused, (0, 3), [x], [parts])


# ---------------------------------------------------------------------------------------------------- scans


@pytest.mark.parametrize("op", sorted(SCANS))
@few
@given(data=st.data(), elements=st.integers(1, 30), piece_bytes=piece_sizes)
def test_scans_in_blocks_and_pieces(op: str, data: st.DataObject, elements: int, piece_bytes: int) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
    x = (np.remainder(data.draw(arrays(dtype=dtypes("iu"), shape=shape)), 3) + 1).astype(data.draw(dtypes("iuf")))
    axis = data.draw(st.none() | st.integers(0, x.ndim - 1))
    flat = axis is None
    expected = getattr(np, op)(x, axis=axis)
    source, result = x.dtype.newbyteorder("=").str, expected.dtype.newbyteorder("=").str
    spec = ScanSpec(op, 0 if axis is None else axis, source, result, flat)
    scan, components = SCANS[op], SCANS[op].components(spec)
    bench = Bench(piece_bytes)
    operand, scanned, out = bench.put(x), bench.empty(x.shape, result), bench.empty(x.shape, result)
    local = Program((x.dtype.str,), (), (), (Scan(0, spec),))
    apply = Program((result, result), (), (Step(scan.kernel, (0, 1), result),), (_store(result, 2),))
    carries: dict[Shape, list[np.ndarray[Any, Any]]] = {}
    grid = Grid.cut(x.shape, 1, elements)
    for number in range(len(grid)):
        start, block = grid.block(number)
        cut = _cut(start, block)
        reduced = range(x.ndim) if flat else (spec.axis,)
        cell = tuple(0 if a in reduced else first for a, first in enumerate(start))
        kept = tuple(1 if a in reduced else length for a, length in enumerate(block))
        total, after = ([bench.empty(kept, dtype) for dtype in components] for _ in range(2))
        if cell not in carries:
            carries[cell] = [bench.empty(kept, dtype) for dtype in components]
            scan.identity(spec, tuple(carries[cell]))
        bench.block(local, block, [operand[cut]], [[scanned[cut], *total]], start)
        bench.block(apply, block, [scanned[cut], carries[cell][-1]], [[out[cut]]], start)
        regions = (tuple(map(bench.region, group)) for group in (carries[cell], total, after))
        bench.interpreter.run(CarryTask(spec, *regions))
        carries[cell] = after
    eps = float(np.finfo(result).eps) if out.dtype.kind == "f" else 0.0
    np.testing.assert_allclose(out.reshape(expected.shape), expected, rtol=64 * eps)


def test_the_output_of_a_flat_scan_may_have_one_dimension() -> None:
    bench = Bench()
    x, out, total = bench.put(np.arange(6).reshape(2, 3)), bench.empty((6,), "<i8"), bench.empty((1,), "<i8")
    spec = ScanSpec("cumsum", 0, "<i8", "<i8", flat=True)
    bench.block(Program(("<i8",), (), (), (Scan(0, spec),)), (2, 3), [x], [[out, total]])
    assert out.tolist() == [0, 1, 3, 6, 10, 15]
    assert total.tolist() == [15]


def test_the_output_of_a_flat_scan_must_be_contiguous() -> None:
    bench = Bench()
    x, out, total = bench.put(np.ones((2, 3))), bench.empty((3, 2), "<f8").T, bench.empty((1,), "<f8")
    spec = ScanSpec("cumsum", 0, "<f8", "<f8", flat=True)
    with pytest.raises(InternalError, match="contiguous"):
        bench.block(Program(("<f8",), (), (), (Scan(0, spec),)), (2, 3), [x], [[out, total]])


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "region",
    [
        Region(-8, (2,), (8,)),
        Region((1 << 18) - 8, (2,), (8,)),
        Region(0, (2,), (-8,)),
        Region(8, (3,), (-8,)),
        Region(0, (-1,), (8,)),
        Region(0, (2,), (1 << 62,)),
        Region(1 << 70, (2,), (8,)),
        Region((1 << 18) - 7, (), ()),
    ],
)
def test_regions_outside_the_arena_are_refused(region: Region) -> None:
    bench = Bench()
    inside = bench.region(bench.empty((2,), "<f8"))
    program = bench.program(Program(("<f8",), (), (), (_store("<f8"),)))
    for operand, output in ((region, inside), (inside, region)):
        task = BlockTask(program, (0,), (2,), (operand,), ((output,),))
        with pytest.raises(InternalError, match="arena"):
            bench.interpreter.run(task)


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, -1), (1 << 18, 1), (4, 1 << 18)])
def test_programs_outside_the_arena_are_refused(offset: int, length: int) -> None:
    with pytest.raises(InternalError, match="lies in no memory"):
        Bench().interpreter.run(BlockTask(ProgramRef(b"?", offset, length), (), (), (), ()))


def test_a_program_that_was_overwritten_is_refused() -> None:
    bench = Bench()
    ref = bench.program(Program((), (), (), ()))
    bench.memory[ref.offset] ^= 1
    with pytest.raises(InternalError, match="not the one"):
        bench.interpreter.run(BlockTask(ref, (), (), (), ()))


def test_an_operand_that_does_not_fit_the_block_is_refused() -> None:
    bench = Bench()
    with pytest.raises(InternalError, match="does not fit"):
        bench.block(Program(("<f8",), (), (), ()), (3,), [bench.empty((2,), "<f8")], [])


def test_values_that_numpy_refuses_are_a_computation_error() -> None:
    bench = Bench()
    program = Program(("<i8",), (Scalar.of(2),), (Step("power", (-1, 0), "<i8"),), (_store("<i8", 1),))
    with pytest.raises(ComputationError, match="negative integer powers"):
        bench.block(program, (2,), [bench.put(np.array([1, -1]))], [[bench.empty((2,), "<i8")]])


def test_programs_are_kept_up_to_a_bound_and_made_again_after() -> None:
    bench = Bench()
    x, out = bench.put(np.arange(3.0)), bench.empty((3,), "<f8")
    tasks = [
        bench.block(
            Program(("<f8",), (Scalar.of(n),), (Step("add", (0, -1), "<f8"),), (_store("<f8", 1),)), (3,), [x], [[out]]
        )
        for n in range(PROGRAMS + 3)
    ]
    assert (
        repr(bench.interpreter)
        == f"<Interpreter of <Memory {1 << 18:,} bytes of arena, 0 segments>, {PROGRAMS} programs>"
    )
    for n in (0, PROGRAMS, 1):
        bench.interpreter.run(tasks[n])
        assert out.tolist() == [n, n + 1, n + 2]
