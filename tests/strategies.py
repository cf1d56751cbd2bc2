"""Hypothesis strategies shared by all tests: dtypes, shapes, axes, arrays in every layout, and graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arraymill_proto.catalogue import OPERATIONS
from arraymill_proto.dtypes import SUPPORTED, DType
from arraymill_proto.graph import Constant, Graph, Input, Node, NodeRef, Operation, ParamValue, Resident, Shape, Slice

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def dtypes(kinds: str = "biufc", *, foreign: bool = True) -> st.SearchStrategy[DType]:
    """Supported dtypes of these kinds; with `foreign`, of either byte order."""
    chosen = [dtype for dtype in SUPPORTED if dtype.kind in kinds]
    if foreign:
        chosen += [dtype.newbyteorder() for dtype in chosen if dtype.itemsize > 1]
    return st.sampled_from(chosen)


def shapes(*, max_dims: int = 4, max_side: int = 6, min_side: int = 0) -> st.SearchStrategy[Shape]:
    """Shapes from 0-d upwards, empty ones among them unless `min_side` is positive."""
    return st.lists(st.integers(min_side, max_side), max_size=max_dims).map(tuple)


def axes(ndim: int, *, tuples: bool = True) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """Valid values of `axis` for an array of `ndim` dimensions: None, integers, and tuples of them, of either sign."""
    if ndim == 0:
        return st.sampled_from([None, ()] if tuples else [None])
    choices: list[st.SearchStrategy[int | tuple[int, ...] | None]] = [st.none(), st.integers(-ndim, ndim - 1)]
    if tuples:
        unique = st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim)
        choices.append(
            unique.flatmap(
                lambda chosen: st.tuples(*(st.sampled_from([axis, axis - ndim]) for axis in chosen)),
            )
        )
    return st.one_of(choices)


def elements(dtype: DType, *, finite: bool = False) -> st.SearchStrategy[Any]:
    """Scalars of a native dtype: small ones and extremes; NaN and infinities unless `finite`."""
    if dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)
        return st.integers(max(-9, low), 9) | st.integers(low, high)
    if dtype.kind in "fc":
        return hnp.from_dtype(dtype, allow_nan=not finite, allow_infinity=not finite) | st.integers(-9, 9)
    return st.booleans()


def scalars(dtype: DType, *, finite: bool = False) -> st.SearchStrategy[np.generic]:
    """NumPy scalars of a dtype."""
    return elements(dtype, finite=finite).map(lambda value: np.array([value]).astype(dtype)[0])


def python_scalars() -> st.SearchStrategy[bool | int | float | complex]:
    """Weak scalars, integers beyond 64 bits among them."""
    return st.one_of(
        st.booleans(),
        st.integers(-9, 9),
        st.integers(-(2**200), 2**200),
        st.floats(),
        st.complex_numbers(),
    )


@st.composite
def arrays(
    draw: st.DrawFn,
    *,
    dtype: st.SearchStrategy[DType] | DType | None = None,
    shape: st.SearchStrategy[Shape] | Shape | None = None,
    finite: bool = False,
) -> Array:
    """Arrays of every supported dtype, byte order and memory layout; 0-d and empty ones among them."""
    chosen = draw(dtypes() if dtype is None else dtype if isinstance(dtype, st.SearchStrategy) else st.just(dtype))
    lengths = draw(shapes() if shape is None else shape if isinstance(shape, st.SearchStrategy) else st.just(shape))
    native = chosen.newbyteorder("=")
    values = draw(hnp.arrays(native, lengths, elements=elements(native, finite=finite)))
    return draw(layouts(values.astype(chosen)))


def layouts(values: Array) -> st.SearchStrategy[Array]:
    """The same elements laid out in memory as C, Fortran, transposed, strided, reversed, unaligned or read-only."""
    if values.ndim == 0:
        return st.just(values)
    return st.sampled_from(_LAYOUTS).map(lambda lay_out: lay_out(values))


def _transposed(values: Array) -> Array:
    """Make the slowest axis the second fastest: neither C nor Fortran order."""
    order = [*range(1, values.ndim), *range(min(values.ndim, 1))]
    return np.array(values.transpose(order), order="C").transpose(np.argsort(order))


def _strided(values: Array) -> Array:
    """Take every second element of an array that is larger in every direction."""
    whole = np.zeros([2 * length + 1 for length in values.shape], values.dtype)
    view = whole[tuple(slice(1, 2 * length + 1, 2) for length in values.shape)]
    view[...] = values
    return view


def _reversed(values: Array) -> Array:
    backwards = (slice(None, None, -1),) * values.ndim
    return np.array(values[backwards], order="C")[backwards]


def _unaligned(values: Array) -> Array:
    return np.frombuffer(b"\0" + values.tobytes(), values.dtype, offset=1).reshape(values.shape)


_LAYOUTS: list[Callable[[Array], Array]] = [
    np.array,
    lambda values: np.array(values, order="F"),
    _transposed,
    _strided,
    _reversed,
    _unaligned,
]


def slices(length: int) -> st.SearchStrategy[Slice]:
    """Basic slices of an axis, normalised as the graph has them; integer indices where the axis has elements."""
    pieces: st.SearchStrategy[Slice] = st.slices(length).map(lambda piece: _normalised(piece, length))
    if length:
        pieces |= st.integers(0, length - 1).map(lambda start: Slice(start, 1, 1, drop=True))
    return pieces


def _normalised(piece: slice, length: int) -> Slice:
    start, stop, step = piece.indices(length)
    count = len(range(start, stop, step))
    return Slice(start if count else 0, step if count > 1 else 1, count)


def _inputs(draw: st.DrawFn) -> Input:
    shape = draw(shapes(max_side=3))
    dtype = draw(dtypes())
    order = draw(st.none() | st.permutations(range(len(shape))).map(tuple)) or None
    size = int(np.prod(shape)) * dtype.itemsize
    return Input(shape, dtype, order, draw(st.none() | st.binary(min_size=size, max_size=size)))


def _residents(draw: st.DrawFn) -> Resident:
    return Resident(draw(st.text("ab/-", min_size=1)), tuple(draw(st.lists(slices(5), max_size=3))))


def _params(draw: st.DrawFn, earlier: st.SearchStrategy[int]) -> dict[str, ParamValue]:
    """Some parameters of a reduction, one of each type."""
    choices: dict[str, st.SearchStrategy[ParamValue | None]] = {
        "axis": axes(3),
        "keepdims": st.booleans(),
        "dtype": dtypes(foreign=False),
        "where": earlier.map(NodeRef),
        "ddof": st.floats(0, 2),
    }
    drawn = {name: draw(choice) for name, choice in choices.items() if draw(st.booleans())}
    return {name: value for name, value in drawn.items() if value is not None}


_OPERATIONS = ["add", "sqrt", "where", "greater", "multiply", "isfinite"]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of all kinds of nodes whose references hold; whether operations are defined for them is left open."""
    nodes: list[Node] = [_inputs(draw)]
    for _ in range(draw(st.integers(0, 6))):
        earlier = st.integers(0, len(nodes) - 1)
        kind = draw(st.sampled_from(["input", "resident", "constant", "elementwise", "reduction"]))
        if kind == "input":
            nodes.append(_inputs(draw))
        elif kind == "resident":
            nodes.append(_residents(draw))
        elif kind == "constant":
            nodes.append(Constant(draw(python_scalars() | dtypes(foreign=False).flatmap(scalars))))
        elif kind == "elementwise":
            name = draw(st.sampled_from(_OPERATIONS))
            count = OPERATIONS[name].max_args
            nodes.append(Operation(name, tuple(draw(st.lists(earlier, min_size=count, max_size=count)))))
        else:
            nodes.append(
                Operation(draw(st.sampled_from(["sum", "var", "min"])), (draw(earlier),), _params(draw, earlier))
            )
    outputs = draw(st.lists(st.integers(0, len(nodes) - 1), min_size=1, max_size=3))
    return Graph(tuple(nodes), tuple(outputs))
