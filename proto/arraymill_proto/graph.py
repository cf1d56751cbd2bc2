"""The expression graph of a job, as plain values: what the wire carries and the planner reads.

Nodes stand in topological order; an operand is the index of an earlier node. Nothing here knows protobuf (`codec` does)
or NumPy's rules (`catalogue` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]
Order: TypeAlias = tuple[int, ...]
"""A permutation of axes, slowest first; C order is (0, 1, …, n-1)."""

Weak: TypeAlias = bool | int | float | complex
"""A Python scalar: it adapts to the dtype beside it (NEP 50)."""


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Shape and (native) dtype of an array value."""

    shape: Shape
    dtype: np.dtype[np.generic]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A parameter whose value is the value of an earlier node (where, initial, min, max)."""

    node: int


ParamValue: TypeAlias = bool | int | float | str | tuple[int, ...] | np.dtype[np.generic] | NodeRef
"""The value of a parameter. A parameter that is None is left out."""

Params: TypeAlias = Mapping[str, ParamValue]

NO_PARAMS: Params = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Slice:
    """One axis of a basic slice, normalised: elements start, start + step, …; `length` of them.

    The step is 1 when it is not used: Python's slices take steps of any size, the wire takes 64 bits.
    """

    start: int
    step: int
    length: int
    drop: bool = False
    """True for an integer index, which drops the axis."""


@dataclass(frozen=True, slots=True)
class Input:
    """An array that the client holds."""

    shape: Shape
    dtype: np.dtype[np.generic]
    """May be of foreign byte order; the value of the node has the native dtype."""
    order: Order | None = None
    """In which order of axes the client sends the elements cheapest; None: C order."""
    inline: bytes | memoryview | None = field(default=None, compare=False)
    """The elements themselves, in `order`; None when they are streamed."""
    fingerprint: int = field(default=0, compare=False)
    """Of the elements, where a key is to tell them from others (see `fingerprints`); 0: not given."""


@dataclass(frozen=True, slots=True)
class Resident:
    """An array that the server holds, by id or name, with a basic slice."""

    id: str
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A scalar; a Python scalar is weak, a NumPy scalar is not."""

    value: Weak | np.generic


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the catalogue on earlier nodes."""

    name: str
    args: tuple[int, ...]
    params: Params = field(default_factory=lambda: NO_PARAMS)

    def operands(self) -> tuple[int, ...]:
        """All nodes that this one reads: its arguments, then its array-valued parameters."""
        return self.args + tuple(value.node for value in self.params.values() if isinstance(value, NodeRef))


Node: TypeAlias = Input | Resident | Constant | Operation


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in topological order, and the nodes whose values are the job's results."""

    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]

    def inputs(self) -> tuple[int, ...]:
        """The node of each input: input number i is node `inputs()[i]`."""
        return tuple(index for index, node in enumerate(self.nodes) if isinstance(node, Input))
