"""What the catalogue says of an operation, and what is known of an operand before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from arraymill_proto.dtypes import DType, native
from arraymill_proto.graph import ArrayType, NodeRef, ParamValue, Weak

Operand: TypeAlias = ArrayType | Weak | np.generic
"""What is known of an operand before anything is computed: a type, or the value of a constant."""

BoundParams: TypeAlias = Mapping[str, ParamValue | Operand]
"""Parameters with node references replaced by what is known of the node."""

Rule: TypeAlias = Callable[[Sequence[Operand], BoundParams], ArrayType]

Known: TypeAlias = DType | Weak | np.generic
"""An operand as dtype rules see it: its dtype, or a scalar whose value matters."""


class Kind(StrEnum):
    """How an operation meets blocks."""

    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    SCAN = "scan"


@dataclass(frozen=True, slots=True)
class Signature:
    """One operation of the catalogue."""

    name: str
    kind: Kind
    min_args: int
    max_args: int
    params: tuple[str, ...]
    """Names of the parameters, as NumPy spells them."""
    rule: Rule
    """Shape and dtype of the result; raises the errors of `errors` that NumPy would raise as its own."""
    summary: str
    """One line for the documentation."""
    required: tuple[str, ...] = ()
    """The parameters that cannot be left out."""


def operand_type(operand: Operand) -> ArrayType:
    """Return the type that an operand has as an array of its own: a Python scalar has its default dtype.

    Raises:
        DTypeError: Arrays of its dtype are not supported (Python integers beyond 64 bits are objects to NumPy).
    """
    if isinstance(operand, ArrayType):
        return operand
    return ArrayType((), native(np.asarray(operand).dtype))


def is_operand(value: ParamValue | Operand) -> bool:
    """Tell whether a bound parameter can be an operand."""
    return isinstance(value, (ArrayType, bool, int, float, complex, np.generic)) and not isinstance(value, NodeRef)
