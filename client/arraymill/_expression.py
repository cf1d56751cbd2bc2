"""Expressions: immutable nodes that know their shape and dtype, and how operands become nodes.

`Array` is a thin holder of one node. Nodes are made here only, so that the catalogue has checked every one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import numpy as np

from arraymill._layout import AnyArray, is_masked
from arraymill_proto.catalogue import ARRAY_PARAMS, OPERATIONS, check_shape, infer
from arraymill_proto.dtypes import native
from arraymill_proto.errors import DTypeError
from arraymill_proto.graph import ArrayType, Shape, Slice, Weak


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """An array that this process holds."""

    type: ArrayType
    """Native dtype, whatever the byte order of `data`."""
    data: AnyArray


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A resident array, or a basic slice of one."""

    type: ArrayType
    id: str
    whole: Shape
    """Shape of the resident array itself."""
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Applied:
    """An operation of the catalogue on operands."""

    type: ArrayType
    name: str
    args: tuple[Term, ...]
    params: Mapping[str, Any]
    """Plain values, and terms for the names in ARRAY_PARAMS."""

    def __repr__(self) -> str:
        return f"<Applied {describe(self)}>"  # without recursion: expressions may be thousands deep

    def operands(self) -> Iterator[Term]:
        """All terms that this node reads: its arguments, then its array-valued parameters."""
        yield from self.args
        for name in ARRAY_PARAMS.intersection(self.params):
            yield self.params[name]


Expression: TypeAlias = Local | Stored | Applied
Term: TypeAlias = Expression | Weak | np.generic
"""What an operation reads. A Python scalar is weak (NEP 50), a NumPy scalar is not."""


class Lazy:
    """Holds an expression; the base of `Array`."""

    __slots__ = ("_expression",)

    def __init__(self, expression: Expression) -> None:
        self._expression = expression


def expression_of(lazy: Lazy) -> Expression:
    """Return the expression that an Array holds."""
    return lazy._expression  # pyright: ignore[reportPrivateUsage]  # Lazy's own accessor


def is_operand(value: object) -> bool:
    """Tell whether operators accept a value beside an Array."""
    return isinstance(value, (Lazy, np.ndarray, np.generic, bool, int, float, complex, list, tuple))


def local(data: AnyArray) -> Local:
    """Return the node of an array of this process; nothing is copied, and its shape is held fast.

    Raises:
        DTypeError: The dtype is not supported, or the array is masked.
        ShapeError: More dimensions than arrays may have.
    """
    if is_masked(data):
        raise DTypeError("masked arrays are not supported: fill them first (x.filled(value)), or pass where=~x.mask")
    plain = np.asarray(data).view()  # who sets x.shape later, changes x and not this
    type = ArrayType(plain.shape, native(plain.dtype))
    check_shape(type.shape, type.dtype.itemsize)
    return Local(type, plain)


def to_term(value: object) -> Term:
    """Turn an operand into a term. Scalars and 0-d arrays are read now, other arrays when they are computed.

    Raises:
        TypeError: It is no operand at all.
        DTypeError: Its dtype is not supported.
    """
    if isinstance(value, (Local, Stored, Applied)):
        return value
    if isinstance(value, Lazy):
        return expression_of(value)
    if isinstance(value, np.generic):
        return _supported(cast("Any", value))
    for kind, plain in _PLAIN_SCALARS.items():
        if isinstance(value, kind):
            return plain(value)
    if isinstance(value, (np.ndarray, list, tuple)):
        node = local(np.asanyarray(cast("AnyArray", value)))
        return node if node.type.ndim else to_term(node.data[()])
    raise TypeError(f"{type(value).__name__} is no operand: give an Array, an ndarray or a number")


def _supported(scalar: np.generic) -> np.generic:
    native(scalar.dtype)
    return scalar


_PLAIN_SCALARS: Final[dict[type, Callable[[Any], Weak]]] = {bool: bool, int: int, float: float, complex: complex}
"""Python's numbers, and how to be rid of their subclasses (enumerations and the like); bool first, for it is an int."""


def apply(name: str, operands: tuple[object, ...], params: Mapping[str, object]) -> Applied:
    """Make the node of one operation; parameters that are None are left out.

    Raises:
        ArraymillError: What NumPy would raise for these operands and parameters.
        TypeError: An operand is none.
    """
    args = tuple(to_term(operand) for operand in operands)
    given = {key: _plain_param(key, value) for key, value in params.items() if value is not None}
    type = _type_of(name, args, given)
    if given.get("where") is True:
        del given["where"]
    return Applied(type, name, args, given)


PlainParams: TypeAlias = tuple[tuple[str, type[Any], Any], ...]
"""Parameters that can be compared: name, type and value of each, since True equals 1 and is not the same."""

_COMPARABLE: Final = (bool, int, str)


def plain_params(params: Mapping[str, Any]) -> PlainParams | None:
    """Return parameters so that equal ones are the same; None where they cannot be compared, or not for sure."""
    plain: list[tuple[str, type[Any], Any]] = []
    for name, value in params.items():
        kind = type(cast("object", value))
        is_comparable = kind in _COMPARABLE or isinstance(cast("object", value), np.dtype)
        if not is_comparable and not (kind is tuple and all(type(item) is int for item in value)):
            return None
        plain.append((name, kind, value))
    return tuple(plain)


TYPES: Final = 1024
"""Types of results that are kept, those used last: a fraction of a KB each."""


def _type_of(name: str, args: Sequence[Term], params: Mapping[str, Any]) -> ArrayType:
    """Return the type of an operation's value; asked again for what it was asked lately, it remembers."""
    types = tuple([arg.type for arg in args if isinstance(arg, (Local, Stored, Applied))])
    plain = plain_params(params)
    if plain is not None and len(types) == len(args):
        return _known_type(name, types, plain)
    bound = {key: known(value) if key in ARRAY_PARAMS else value for key, value in params.items()}
    return infer(name, [known(arg) for arg in args], bound)


@lru_cache(maxsize=TYPES)
def _known_type(name: str, types: tuple[ArrayType, ...], params: PlainParams) -> ArrayType:
    return infer(name, types, {key: value for key, _, value in params})


def apply_parts(name: str, operands: tuple[object, ...], params: Mapping[str, object]) -> tuple[Applied, ...]:
    """Make the node of an operation, or the two nodes of one that has two results (modf, frexp, divmod)."""
    signature = OPERATIONS.get(name)
    if signature is None or "part" not in signature.params or params.get("part") is not None:
        return (apply(name, operands, params),)
    terms = tuple(to_term(operand) for operand in operands)
    return tuple(apply(name, terms, {**params, "part": part}) for part in (0, 1))


def known(term: Term) -> ArrayType | Weak | np.generic:
    """Return what the catalogue must know of a term."""
    return term.type if isinstance(term, (Local, Stored, Applied)) else term


def _plain_param(name: str, value: object) -> Any:
    if name in ARRAY_PARAMS:
        return to_term(value)
    if name == "dtype":
        return native(cast("Any", value))
    if isinstance(value, tuple):
        return tuple(_plain_param("", item) for item in cast("tuple[object, ...]", value))
    if isinstance(value, (np.bool_, np.integer)):
        return cast("np.generic[Any]", value).item()
    return value


def describe(expression: Expression) -> str:
    """Return what an expression is and how much of it there is, in a few words."""
    if isinstance(expression, Local):
        return "local"
    if isinstance(expression, Stored):
        return f"of {expression.id}"
    operations, leaves = count_nodes(expression)
    return f"{expression.name} | {_counted(operations, 'operation')} on {_counted(leaves, 'array')}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def count_nodes(expression: Expression) -> tuple[int, int]:
    """Return the numbers of distinct operations and leaves of an expression."""
    seen: set[int] = set()
    leaves = 0
    stack = [expression]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Applied):
            stack.extend(term for term in node.operands() if isinstance(term, (Local, Stored, Applied)))
        else:
            leaves += 1
    return len(seen) - leaves, leaves
