"""The work of an entry of the mix: arrays, the job that a client sends, and NumPy's answer, made before the run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from arraymill._array import Array, asarray
from arraymill._bulk import LEAST_BYTES as LEAST_BULK_BYTES
from arraymill._caller import SMALL_BYTES
from arraymill._expression import apply_parts, expression_of
from arraymill._graph import Computation, build
from arraymill._layout import AnyArray
from arraymill._memory_route import LEAST_BYTES as LEAST_SHARED_BYTES
from arraymill._numpy import canonical
from arraymill._quantities import bytes_text
from arraymill._text.errors import InputError
from arraymill._text.expression import Expression
from arraymill._text.vocabulary import DTYPES
from arraymill.load._mix import Entry, Transport
from arraymill_proto.catalogue import OPERATIONS, signature_of
from arraymill_proto.errors import ArraymillError
from arraymill_proto.graph import Constant, Input, NodeRef, Operation

_DTYPES: Final = ("float64", "int64", "bool")
"""What is tried where an entry names none."""

_PARAMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "astype": {"dtype": np.dtype(np.float32)},
    "clip": {"min": 2, "max": 5},
}
"""Of operations that do nothing without parameters; with others they are written as expressions."""

_RANGES: Final[Mapping[str, tuple[int, int]]] = {"f": (0, 8), "c": (0, 8), "i": (1, 8), "u": (1, 8), "b": (0, 2)}
"""Elements by kind of dtype: small, so that shifts and products of a few stay within their dtypes."""

_TOLERANCES: Final[Mapping[str, float]] = {
    "float16": 5e-3,
    "float32": 1e-5,
    "float64": 1e-11,
    "complex64": 1e-5,
    "complex128": 1e-11,
}
"""Part of the greatest element by which answers may differ from NumPy's, whose own sums depend on memory layout."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a generator sends for one entry."""

    name: str
    transport: Transport
    job: Computation
    expected: tuple[Any, ...]
    """NumPy's answers; empty where nothing is checked."""

    @property
    def nbytes(self) -> int:
        """Elements of arrays, both ways."""
        return self.job.input_bytes + self.job.result_bytes

    def is_right(self, values: Sequence[Any]) -> bool:
        """Compare an answer with NumPy's."""
        return all(map(_is_right, values, self.expected))


def prepare(entry: Entry, *, seed: int, is_checked: bool) -> Work:
    """Make the arrays of an entry, and compute NumPy's answer.

    Raises:
        InputError: It has no meaning.
    """
    random = np.random.default_rng(seed)
    name, job = _job(entry, lambda shape, dtype: _numbers(random, shape, dtype))
    return Work(name, entry.transport, job, tuple(_answers(job)) if is_checked else ())


def check_entry(entry: Entry) -> str:
    """Check that an entry has a meaning, without memory for its arrays; return its name.

    Raises:
        InputError: It has none, or its transport is not for arrays of its size.
    """
    name, job = _job(entry, lambda shape, dtype: np.broadcast_to(np.zeros((), dtype), shape))
    largest = max(job.input_bytes, job.result_bytes)
    for transport, least, most, words in _SIZES:
        if entry.transport is transport and not least <= largest <= most:
            raise InputError(f"{name!r} of the mix moves {bytes_text(largest)}, {transport} is for {words}")
    return name


_SIZES: Final = (
    (Transport.INLINE, 0, SMALL_BYTES, f"jobs of at most {bytes_text(SMALL_BYTES)} each way"),
    (Transport.GRPC, 0, 1 << 62, ""),
    (Transport.BULK, LEAST_BULK_BYTES, 1 << 62, f"arrays of at least {bytes_text(LEAST_BULK_BYTES)}"),
    (Transport.MEMORY, LEAST_SHARED_BYTES, 1 << 62, f"arrays of at least {bytes_text(LEAST_SHARED_BYTES)}"),
)


# ------------------------------------------------------------------ from an entry to a job


Make: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], AnyArray]
"""Makes an array of a shape and a dtype."""


def _job(entry: Entry, make: Make) -> tuple[str, Computation]:
    """Return the name and the job of an entry, of arrays that are made for it."""
    error: Exception | None = None
    for dtypes in _candidates(entry):
        try:
            outputs = _bound(entry, dtypes, make)
            return entry.name(dtypes[0]), build([expression_of(output) for output in outputs])
        except (ArraymillError, InputError, ValueError, TypeError, MemoryError) as exc:
            error = error or exc
    raise InputError(f"the entry {entry.work[:60]!r} of the mix: {error}") from error


def _candidates(entry: Entry) -> Iterator[tuple[str, str]]:
    """Return dtypes to try: of the first operand, and of the others."""
    names = (entry.dtype,) if entry.dtype else _DTYPES
    yield from ((name, name) for name in names)
    yield from ((name, "int64") for name in names)  # ldexp


def _bound(entry: Entry, dtypes: tuple[str, str], make: Make) -> list[Array]:
    """Return the values that an entry stands for.

    Raises:
        ArraymillError: The operation does not exist, or does not take such arrays.
        InputError: The expression has no meaning.
    """

    def operand(place: int) -> AnyArray:
        dtype = DTYPES[dtypes[place > 0]]
        array: AnyArray = make(entry.shape(dtype.itemsize), dtype)
        return array

    name = canonical(entry.work)
    if entry.work.isidentifier() or name in OPERATIONS:
        operands = tuple(operand(place) for place in range(signature_of(name).min_args))
        return [Array(each) for each in apply_parts(name, operands, _PARAMS.get(name, {}))]
    parsed = Expression(entry.work)
    names = sorted(parsed.unknown(frozenset()))
    if not names:
        raise InputError("the expression names no array")
    return [parsed.bind({each: asarray(operand(place)) for place, each in enumerate(names)})]


def _numbers(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    low, high = _RANGES[dtype.kind]
    if dtype.kind not in "fc":
        return random.integers(low, high, shape, np.uint8).astype(dtype)
    numbers: AnyArray = (high * random.random(shape, np.float32)).astype(dtype)
    return numbers


# ------------------------------------------------------------------ NumPy's answer


def _answers(job: Computation) -> list[Any]:
    """Compute a job in this process."""
    arrays, known = iter(job.inputs), list[Any]()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for node in job.graph.nodes:
            match node:
                case Input():
                    known.append(next(arrays))
                case Operation():
                    known.append(_applied(node, known))
                case Constant():
                    known.append(node.value)
                case _:
                    raise InputError("arrays on the server cannot be part of a mix")
    return [known[output] for output in job.graph.outputs]


def _applied(node: Operation, known: Sequence[Any]) -> Any:
    args = [known[arg] for arg in node.args]
    params: dict[str, Any] = {
        key: known[value.node] if isinstance(value, NodeRef) else value for key, value in node.params.items()
    }
    if node.name == "astype":
        return np.asarray(args[0]).astype(params["dtype"])
    if node.name == "clip":
        return np.clip(args[0], params.get("min"), params.get("max"))
    part = params.pop("part", None)
    answer = getattr(np, node.name)(*args, **params)
    return answer if part is None else answer[part]


def _is_right(value: Any, expected: Any) -> bool:
    found, known = np.asarray(value), np.asarray(expected)
    if found.shape != known.shape or found.dtype != known.dtype:
        return False
    tolerance = _TOLERANCES.get(known.dtype.name)
    if tolerance is None:
        return bool(np.array_equal(found, known))
    finite = np.abs(known[np.isfinite(known)])
    scale = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(found, known, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
