"""Expressions as text: `sqrt(a*a + b*b).mean(axis=0)` becomes an Array expression. Nothing is ever evaluated by Python.

Python's own parser makes the tree; this module walks it. Only the kinds of node listed in `_READERS` are known, only
names of given arrays, constants, dtypes and operations of the catalogue have a meaning, and only the methods and
properties of `Array` listed here can be reached. Functions and operators are applied to Arrays, which is NumPy's own
protocol: so positional and keyword arguments mean what they mean in NumPy, and errors are NumPy's, with the column.

Bounds: the text has at most `MAX_CHARS` characters, nesting at most `MAX_DEPTH` levels, constants at most 128 bits.
Chains of operators (`a + b + c + …`) are walked in a loop and do not count as nesting.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import EllipsisType
from typing import Any, Final, TypeAlias, cast

import numpy as np

from arraymill._array import Array, asarray
from arraymill._layout import AnyArray
from arraymill._numpy import canonical
from arraymill._text.constants import bounded, fold
from arraymill._text.errors import InputError
from arraymill._text.vocabulary import CONSTANTS, DTYPES, METHODS, OPERATORS, PROPERTIES, REFUSED
from arraymill_proto.catalogue import OPERATIONS, signature_of
from arraymill_proto.errors import ArraymillError
from arraymill_proto.graph import Weak

MAX_CHARS: Final = 20_000
"""Longest expression: 4,096 nodes, a job's limit, fit into it with names of a few characters."""

MAX_DEPTH: Final = 100
"""Deepest nesting of calls, brackets and signs: far above what people write, a third of Python's recursion limit."""

Number: TypeAlias = Weak | np.generic
Value: TypeAlias = Array | Number | np.dtype[Any] | tuple[Any, ...] | slice | EllipsisType | None


class Expression:
    """The text of an expression, read as far as possible without its arrays."""

    def __init__(self, text: str) -> None:
        """Parse.

        Raises:
            InputError: It is no expression, or too long.
        """
        self.text = " ".join(text.split("\n")).strip()
        self._tree = _parse(self.text)
        self.names = _free_names(self._tree)
        """The names that stand for arrays, constants or dtypes."""

    def unknown(self, known: frozenset[str]) -> frozenset[str]:
        """Return the names that nothing is known for, when arrays of these names are given."""
        return self.names - known - CONSTANTS.keys() - DTYPES.keys() - {"np", "numpy"}

    def bind(self, arrays: Mapping[str, Array | Number]) -> Array:
        """Return the Array expression that the text means.

        Args:
            arrays: Arrays and numbers by their names in the text; they hide constants and dtypes of the same names.

        Raises:
            InputError: Something in it is unknown, not allowed here, or not valid for these arrays; the message has the
                column.
        """
        with _silenced():
            value = _Walk(self.text, arrays).read(self._tree)
        if isinstance(value, Array):
            return value
        if isinstance(value, (bool, int, float, complex, np.generic)):
            return asarray(value)
        raise InputError(f"the expression gives {_described(value)}, not an array")


def _parse(text: str) -> ast.expr:
    if len(text) > MAX_CHARS:
        raise InputError(f"the expression has {len(text)} characters, at most {MAX_CHARS} are read")
    try:
        with _silenced():
            return ast.parse(text, mode="eval").body
    except SyntaxError as exc:
        column = exc.offset or len(text) + 1
        raise InputError(f"column {column}: {exc.msg}" if text else "the expression is empty") from exc
    except (RecursionError, MemoryError) as exc:
        raise InputError(f"the expression is nested too deeply: at most {MAX_DEPTH} levels are read") from exc
    except ValueError as exc:  # null bytes; surrogates
        raise InputError(f"the expression is no text: {exc}") from exc


@contextmanager
def _silenced() -> Generator[None]:
    """Keep Python's and NumPy's warnings about constants to themselves: a command prints one line, or its result."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _free_names(tree: ast.expr) -> frozenset[str]:
    nodes = list(ast.walk(tree))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in called)


def _described(value: Value) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values (choose one with [0])"
    return f"the dtype {value}" if isinstance(value, np.dtype) else f"{value!r}"


class _Walk:
    """Reads one tree with its arrays."""

    def __init__(self, text: str, arrays: Mapping[str, Array | Number]) -> None:
        self._text = text
        self._arrays = arrays
        self._depth = 0

    def read(self, node: ast.expr) -> Value:
        """Return what a node means."""
        reader = _READERS.get(type(node))
        if reader is None:
            raise self._error(node, REFUSED.get(type(node), f"{type(node).__name__} is not known here"))
        if self._depth == MAX_DEPTH:
            raise self._error(node, f"nested too deeply: at most {MAX_DEPTH} levels are read")
        self._depth += 1
        try:
            return reader(self, node)
        finally:
            self._depth -= 1

    def name(self, node: ast.Name) -> Value:
        if node.id in self._arrays:
            return self._arrays[node.id]
        return self._global(node, node.id)

    def constant(self, node: ast.Constant) -> Value:
        value = node.value
        if isinstance(value, str):
            if value in DTYPES:
                return DTYPES[value]
            raise self._error(node, f"{value[:40]!r} is no dtype; text means nothing else here")
        if isinstance(value, bytes):
            raise self._error(node, "bytes are not known here")
        with self._located(node):
            return cast("Value", bounded(value))

    def binary(self, node: ast.BinOp) -> Value:
        """Walk a chain of operators from its left end."""
        chain = [node]
        while isinstance(left := chain[-1].left, ast.BinOp):
            chain.append(left)
        value = self.read(chain[-1].left)
        for link in reversed(chain):
            value = self._operate(link, link.op, value, self.read(link.right))
        return value

    def unary(self, node: ast.UnaryOp) -> Value:
        return self._operate(node, node.op, self.read(node.operand))

    def compare(self, node: ast.Compare) -> Value:
        if len(node.ops) > 1:
            raise self._error(node, "chained comparisons do not work on arrays: write (a < b) & (b < c)")
        return self._operate(node, node.ops[0], self.read(node.left), self.read(node.comparators[0]))

    def call(self, node: ast.Call) -> Value:
        function = self._callee(node.func)
        args = [self.read(arg) for arg in node.args]
        kwargs = {self._keyword(keyword): self.read(keyword.value) for keyword in node.keywords}
        with self._located(node):
            return _plain(function(*args, **kwargs))

    def attribute(self, node: ast.Attribute) -> Value:
        if self._is_numpy(node.value):
            return self._global(node, node.attr)
        value = self.read(node.value)
        if isinstance(value, Array) and node.attr in PROPERTIES:
            return cast("Value", getattr(value, node.attr))
        if node.attr in METHODS:
            raise self._error(node, f"{node.attr} is a method: write .{node.attr}(…)")
        raise self._error(node, f"there is no attribute {node.attr!r} here: {', '.join(sorted(PROPERTIES))}")

    def subscript(self, node: ast.Subscript) -> Value:
        value, key = self.read(node.value), self.read(node.slice)
        if not isinstance(value, (Array, tuple)):
            raise self._error(node, "only arrays can be sliced")
        with self._located(node):
            return cast("Value", value[cast("Any", key)])

    def span(self, node: ast.Slice) -> Value:
        parts = (node.lower, node.upper, node.step)
        return slice(*(None if part is None else self.read(part) for part in parts))

    def group(self, node: ast.Tuple) -> Value:
        values = tuple(self.read(item) for item in node.elts)
        if all(isinstance(value, (int, slice, EllipsisType)) for value in values):
            return values
        raise self._error(node, "a tuple lists axes or slices, nothing else")

    def _global(self, node: ast.expr, name: str) -> Value:
        """Return a constant or a dtype."""
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in DTYPES:
            return DTYPES[name]
        if not name.startswith("_") and canonical(name) in OPERATIONS:
            raise self._error(node, f"{name} is a function: write {name}(…)")
        if isinstance(node, ast.Attribute):
            raise self._error(node, f"np.{name} is not known here: {', '.join([*CONSTANTS, *DTYPES])} are")
        raise self._error(
            node, f"there is no array {name!r}: give {name}=FILE.npy, or {name}=@NAME for one on the server"
        )

    def _callee(self, node: ast.expr) -> Callable[..., Any]:
        """Return the function or the bound method that a call names."""
        if isinstance(node, ast.Name):
            return self._function(node, node.id)
        if not isinstance(node, ast.Attribute):
            raise self._error(node, "only functions by their names, and methods of arrays, can be called")
        if self._is_numpy(node.value):
            return self._function(node, node.attr)
        value = self.read(node.value)
        if isinstance(value, Array) and node.attr in METHODS:
            return cast("Callable[..., Any]", getattr(value, node.attr))
        raise self._error(node, f"there is no method {node.attr!r} here: {', '.join(sorted(METHODS))}")

    def _function(self, node: ast.expr, name: str) -> Callable[..., Any]:
        with self._located(node):
            known = signature_of(name if name.startswith("_") else canonical(name)).name
        if known == "astype":  # np.astype came with NumPy 2.1
            return _astype
        return cast("Callable[..., Any]", getattr(np, known))

    def _is_numpy(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in {"np", "numpy"} and node.id not in self._arrays

    def _keyword(self, keyword: ast.keyword) -> str:
        if keyword.arg is None:
            raise self._error(keyword.value, "`**` before an argument is not known here")
        if keyword.arg == "out":
            raise self._error(keyword.value, "out= is not known here: name the output file with -o")
        return keyword.arg

    def _operate(self, node: ast.expr, kind: ast.AST, *operands: Value) -> Value:
        name = OPERATORS.get(type(kind))
        if name is None:
            raise self._error(node, REFUSED.get(type(kind), f"{type(kind).__name__} is not known here"))
        for operand in operands:
            if not isinstance(operand, (Array, bool, int, float, complex, np.generic)):
                raise self._error(node, f"{_described(operand)} is no operand: arrays and numbers are")
        with self._located(node):
            return cast("Value", fold(name, *operands))

    @contextmanager
    def _located(self, node: ast.expr) -> Generator[None]:
        """Give the column to what NumPy's rules say of the values."""
        try:
            yield
        except (ArraymillError, TypeError, ValueError, IndexError, ArithmeticError) as exc:
            # Python's own OverflowError has a number before its words.
            raise self._error(node, str(exc.args[-1]) if exc.args else str(exc)) from exc

    def _error(self, node: ast.expr, message: str) -> InputError:
        column = len(self._text.encode()[: node.col_offset].decode()) + 1
        return InputError(f"column {column}: {message}")


def _astype(x: Array | Number, dtype: np.dtype[Any]) -> Array:
    return asarray(x).astype(dtype)


def _plain(value: Any) -> Value:
    """Return the result of a NumPy function on numbers alone as a number or an Array."""
    if isinstance(value, np.ndarray):
        array = cast("AnyArray", value)
        return asarray(array) if array.ndim else cast("np.generic", array[()])
    return cast("Value", value)


_READERS: Final[Mapping[type[ast.AST], Callable[[_Walk, Any], Value]]] = {
    ast.Name: _Walk.name,
    ast.Constant: _Walk.constant,
    ast.BinOp: _Walk.binary,
    ast.UnaryOp: _Walk.unary,
    ast.Compare: _Walk.compare,
    ast.Call: _Walk.call,
    ast.Attribute: _Walk.attribute,
    ast.Subscript: _Walk.subscript,
    ast.Slice: _Walk.span,
    ast.Tuple: _Walk.group,
}
