"""The operations of arraymill: names, parameters, shape and dtype rules. NumPy's, in one table.

`OPERATIONS` is the only list of operations. The client's lazy Array asks it for shapes and dtypes, the server validates
with it, and the server's kernels (`arraymill_server.ops`) carry the same names; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from arraymill_proto.graph import ArrayType, ParamValue, Weak

Operand: TypeAlias = ArrayType | Weak | np.generic
"""What is known of an operand before anything is computed: a type, or the value of a constant."""

BoundParams: TypeAlias = Mapping[str, ParamValue | Operand]
"""Parameters with node references replaced by what is known of the node."""

Rule: TypeAlias = Callable[[Sequence[Operand], BoundParams], ArrayType]


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
