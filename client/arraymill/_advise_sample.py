"""Samples: the same expression with shorter or longer axes, and NumPy's answer to it here.

Theory of operation. A sample replaces lengths of axes, everywhere the same length by the same other one, and 1 by 1. So
what was equal stays equal and what broadcasts goes on to, and the sample is an expression as valid as the original,
whatever it reduces. Only scans that flatten break this, where the flattened length meets an array of that length. The
longest axis is halved, or doubled, until the values of all operations together have about the wanted bytes: so long
rows stay long, and short ones short, on which the speed of reductions depends. Leaves are cut from the arrays
themselves, in their memory order. Where there is nothing to cut from, an array that is on the server or a sample that
is larger than the array, elements are 1.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median
from time import perf_counter
from typing import Any, Final, TypeAlias

import numpy as np

from arraymill._expression import Applied, Expression, Local, Stored, apply, local
from arraymill._graph import Computation, build
from arraymill._layout import AnyArray
from arraymill._segment import is_shared
from arraymill_proto.catalogue import ARRAY_PARAMS
from arraymill_proto.errors import ComputationError, ParameterError, ShapeError
from arraymill_proto.graph import ArrayType, Constant, Input, Node, NodeRef, Operation, Shape

Leaf: TypeAlias = Local | Stored

ROUNDS: Final = 8
"""How often a sample is cut again that is too large: values of a broadcast grow faster than its operands."""

MAX_STEPS: Final = 256
"""How often lengths are halved or doubled: no array has more elements than 2**62, but arrays may have many lengths."""

TINY_BYTES: Final = 4 << 10
"""Touched by a sample that shows what NumPy takes beside the elements."""

FIRST_BYTES: Final = 4 << 20
"""Touched by a sample that shows how fast elements are; the others are as large as LOCAL_SECONDS allow."""

MOST_BYTES: Final = 128 << 20
"""Touched by the largest sample: beyond the caches of most processors, within the memory of every one."""

LOCAL_SECONDS: Final = 0.2
"""What NumPy's samples may take, about."""

TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an expression is."""

    input_bytes: int
    stored_bytes: int
    """Of these, bytes that are on the server."""
    placed_bytes: int
    """Of these, bytes that lie in memory shared with a server."""
    result_bytes: int
    touched_bytes: int
    """Of the inputs, and of the value of every operation."""


@dataclass(frozen=True, slots=True)
class NumpyTimes:
    """What NumPy takes for an expression."""

    overhead_seconds: float
    """For next to no elements."""
    seconds_per_byte: float
    """For each byte touched, beside that."""
    sample_bytes: int
    """Touched by the largest sample."""


def extent(expression: Expression) -> Extent:
    """Count the bytes of an expression; an array that it reads in several places counts once."""
    leaves: dict[Hashable, Leaf] = {}
    computed = 0
    for node in walk(expression):
        if isinstance(node, Applied):
            computed += node.type.nbytes
        else:
            leaves[_identity(node)] = node
    input_bytes = sum(leaf.type.nbytes for leaf in leaves.values())
    return Extent(
        input_bytes=input_bytes,
        stored_bytes=sum(leaf.type.nbytes for leaf in leaves.values() if isinstance(leaf, Stored)),
        placed_bytes=sum(leaf.type.nbytes for leaf in leaves.values() if isinstance(leaf, Local) and _is_placed(leaf)),
        result_bytes=expression.type.nbytes,
        touched_bytes=input_bytes + computed,
    )


def sample(expression: Expression, touched_bytes: int) -> Expression:
    """Return the expression on smaller or larger arrays of this process, that touches about so many bytes.

    It touches at most twice as many, and at least a quarter unless no axis can be longer, or several have one length.

    Raises:
        ParameterError: Its axes cannot be shortened together.
    """
    shapes = _shapes(expression)
    wanted, whole = float(touched_bytes), extent(expression).touched_bytes
    lengths: dict[int, int] = {}
    for _ in range(ROUNDS if whole else 0):
        lengths = _lengths(shapes, wanted / whole)
        touched = extent(_rebuilt(expression, lengths, _type_only)).touched_bytes
        if touched <= 2 * touched_bytes:
            break
        wanted *= touched_bytes / touched
    return _rebuilt(expression, lengths, _sampled)


def halved(expression: Expression) -> Extent:
    """Count the bytes of the expression with its longest axis half as long.

    Raises:
        ParameterError: Its axes cannot be shortened together.
    """
    longest = max((length for shape in _shapes(expression) for length in shape), default=1)
    return extent(_rebuilt(expression, {longest: max(longest // 2, min(longest, 1))}, _type_only))


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield every node once, operands before what reads them; without recursion."""
    done: set[int] = set()
    stack = [expression]
    while stack:
        node = stack[-1]
        missing = [term for term in _operands(node) if id(term) not in done] if id(node) not in done else []
        stack.extend(missing)
        if not missing:
            stack.pop()
            if id(node) not in done:
                done.add(id(node))
                yield node


def _shapes(expression: Expression) -> list[Shape]:
    return [leaf.type.shape for leaf in walk(expression) if not isinstance(leaf, Applied)]


def _operands(node: Expression) -> list[Expression]:
    terms = node.operands() if isinstance(node, Applied) else ()
    return [term for term in terms if isinstance(term, (Local, Stored, Applied))]


def _lengths(shapes: Sequence[Shape], factor: float) -> dict[int, int]:
    """Return what to replace lengths by, so that arrays of these shapes together get about `factor` times as large."""
    lengths = {length: length for shape in shapes for length in shape if length > 1}
    target = factor * _elements(shapes, lengths)
    for _ in range(MAX_STEPS if lengths else 0):
        longest = max(lengths, key=lengths.__getitem__)
        if factor < 1 and _elements(shapes, lengths) > target:
            lengths[longest] = -(-lengths[longest] // 2)
        elif factor > 1 and 2 * _elements(shapes, lengths) <= target:
            lengths[longest] *= 2
        else:
            break
    return lengths


def _elements(shapes: Sequence[Shape], lengths: Mapping[int, int]) -> int:
    return sum(prod(_replaced(shape, lengths)) for shape in shapes)


def _replaced(shape: Shape, lengths: Mapping[int, int]) -> Shape:
    return tuple(lengths.get(length, length) for length in shape)


def _rebuilt(expression: Expression, lengths: Mapping[int, int], new_leaf: Callable[[Leaf, Shape], Leaf]) -> Expression:
    """Return the expression on other leaves.

    Raises:
        ParameterError: Their shapes do not go together.
    """
    made: dict[int, Expression] = {}
    leaves: dict[Hashable, Leaf] = {}
    for node in walk(expression):
        if not isinstance(node, Applied):
            key = _identity(node)
            if key not in leaves:
                leaves[key] = new_leaf(node, _replaced(node.type.shape, lengths))
            made[id(node)] = leaves[key]
            continue
        args = tuple(made.get(id(arg), arg) for arg in node.args)
        params = {
            name: made.get(id(value), value) if name in ARRAY_PARAMS else value for name, value in node.params.items()
        }
        try:
            made[id(node)] = apply(node.name, args, params)
        except ShapeError as exc:
            raise ParameterError(
                f"no sample of this expression can be made, so nothing can be measured: {exc.message}; ask for its "
                "parts instead"
            ) from exc
    return made[id(expression)]


def _identity(leaf: Leaf) -> Hashable:
    """Return what two leaves have in common that are sent, or read, once."""
    if isinstance(leaf, Stored):
        return leaf.id, leaf.slices
    data = leaf.data
    return data.__array_interface__["data"][0], data.shape, data.strides, data.dtype.str


def _is_placed(leaf: Local) -> bool:
    """Tell whether a server that shares the memory of an array reads it there."""
    return is_shared(leaf.data) and all(stride >= 0 for stride in leaf.data.strides)


def _type_only(leaf: Leaf, shape: Shape) -> Stored:
    return Stored(ArrayType(shape, leaf.type.dtype), repr(_identity(leaf)), shape)


def _sampled(leaf: Leaf, shape: Shape) -> Local:
    if isinstance(leaf, Stored) or any(new > old for new, old in zip(shape, leaf.type.shape, strict=True)):
        return local(np.ones(shape, leaf.type.dtype))
    return local(_cut(leaf.data, shape))


def _cut(data: AnyArray, shape: Shape) -> AnyArray:
    """Return the first elements along each axis, contiguous where the whole is."""
    cut: AnyArray = data[tuple(slice(length) for length in shape)]
    return cut.copy(order="K") if data.flags.forc and not cut.flags.forc else cut


# ---------------------------------------------------------------------------------------------------- NumPy here


def time_numpy(expression: Expression) -> NumpyTimes:
    """Compute samples of an expression in this process and measure; takes some tenths of a second.

    Raises:
        ParameterError: No sample can be made of it.
    """
    overhead = _median_seconds(build([sample(expression, TINY_BYTES)]), tries=9)
    size = FIRST_BYTES
    first = sample(expression, size)
    seconds = _median_seconds(build([first]), tries=1)
    size = int(min(max(size * LOCAL_SECONDS / max(seconds, 1e-9) / TRIES, FIRST_BYTES), MOST_BYTES))
    chosen = sample(expression, size)
    seconds = _median_seconds(build([chosen]), tries=TRIES)
    touched = extent(chosen).touched_bytes
    return NumpyTimes(overhead, max(seconds - overhead, 0.0) / touched if touched else 0.0, touched)


def _median_seconds(job: Computation, tries: int) -> float:
    """Return the median time of a computation by NumPy; stops trying when that has taken LOCAL_SECONDS."""
    seconds: list[float] = []
    while len(seconds) < tries and sum(seconds) < LOCAL_SECONDS:
        begin = perf_counter()
        evaluate(job)
        seconds.append(perf_counter() - begin)
    return median(seconds)


def evaluate(job: Computation) -> list[Any]:
    """Return what NumPy computes, without its warnings about values; intermediate values go after their last use.

    Raises:
        ComputationError: NumPy refuses a value: an integer to a negative power, for instance.
    """
    nodes, inputs = job.graph.nodes, iter(job.inputs)
    last = {operand: index for index, node in enumerate(nodes) for operand in _read_by(node)}
    last |= dict.fromkeys(job.graph.outputs, len(nodes))
    values: dict[int, Any] = {}
    with np.errstate(all="ignore"):
        for index, node in enumerate(nodes):
            values[index] = next(inputs) if isinstance(node, Input) else _computed(node, values)
            for operand in _read_by(node):
                if last[operand] == index:
                    values.pop(operand, None)
    return [values[output] for output in job.graph.outputs]


def _read_by(node: Node) -> tuple[int, ...]:
    return node.operands() if isinstance(node, Operation) else ()


def _computed(node: Node, values: Mapping[int, Any]) -> Any:
    try:
        return _value(node, values)
    except (ArithmeticError, TypeError, ValueError) as exc:
        raise ComputationError(f"NumPy here cannot compute a sample: {exc}") from exc


def _value(node: Node, values: Mapping[int, Any]) -> Any:
    if isinstance(node, Constant):
        return node.value
    assert isinstance(node, Operation)
    args = [values[arg] for arg in node.args]
    params: dict[str, Any] = {
        name: values[value.node] if isinstance(value, NodeRef) else value for name, value in node.params.items()
    }
    if node.name == "astype":
        return np.asarray(args[0]).astype(params["dtype"])
    if node.name == "clip":
        return np.clip(args[0], params.get("min"), params.get("max"))
    part = params.pop("part", None)
    answer = getattr(np, node.name)(*args, **params)
    return answer if part is None else answer[part]
