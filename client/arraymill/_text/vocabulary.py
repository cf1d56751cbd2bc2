"""The words of expressions: which names, methods, properties and operators have a meaning, and what is refused how."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from arraymill_proto.catalogue import OPERATIONS, Kind
from arraymill_proto.dtypes import SUPPORTED

CONSTANTS: Final[Mapping[str, float]] = {
    "pi": np.pi,
    "e": np.e,
    "euler_gamma": np.euler_gamma,
    "inf": np.inf,
    "nan": np.nan,
}

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    **{name: dtype for dtype in SUPPORTED for name in (dtype.name, dtype.str[1:])},
    **{name: np.dtype(name) for name in ("bool", "int", "float", "complex", "half", "single", "double")},
}

METHODS: Final = frozenset(
    {name for name, signature in OPERATIONS.items() if signature.kind is not Kind.ELEMENTWISE}
    | {"astype", "clip", "conj", "conjugate", "round"}
)
PROPERTIES: Final = frozenset({"real", "imag", "shape", "size", "ndim", "dtype", "itemsize", "nbytes"})

OPERATORS: Final[Mapping[type[ast.AST], str]] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.FloorDiv: "floordiv",
    ast.Mod: "mod",
    ast.Pow: "pow",
    ast.BitAnd: "and_",
    ast.BitOr: "or_",
    ast.BitXor: "xor",
    ast.LShift: "lshift",
    ast.RShift: "rshift",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.USub: "neg",
    ast.UAdd: "pos",
    ast.Invert: "invert",
}
"""Names of the module operator."""

REFUSED: Final[Mapping[type[ast.AST], str]] = {
    ast.BoolOp: "`and` and `or` do not work on arrays: use & and |, with parentheses around comparisons",
    ast.Not: "`not` does not work on arrays: use ~ or logical_not",
    ast.IfExp: "`if … else` does not work on arrays: use where(condition, a, b)",
    ast.MatMult: "matrix products are not computed by arraymill",
    ast.In: "`in` is not known here: compare with == and use any",
    ast.Is: "`is` is not known here: use ==",
    ast.IsNot: "`is not` is not known here: use !=",
    ast.List: "lists are not known here: write a tuple for axes, and give arrays as NAME=FILE",
    ast.Starred: "`*` before an argument is not known here",
    ast.JoinedStr: "text is not known here, except the name of a dtype",
}
