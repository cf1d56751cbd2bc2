"""From expressions to the graph of a job and the arrays that its inputs are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymill._expression import Applied, Expression, Local, Stored, Term
from arraymill._layout import AnyArray, in_order, preferred_order
from arraymill_proto.catalogue import ARRAY_PARAMS
from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, NodeRef, Operation, Resident, Weak
from arraymill_proto.limits import MAX_NODES


@dataclass(frozen=True, slots=True)
class Computation:
    """What one call computes."""

    graph: Graph
    inputs: tuple[AnyArray, ...]
    """The array of each input, by its number."""
    results: tuple[ArrayType, ...]
    """The type of each output."""

    @property
    def input_bytes(self) -> int:
        """Bytes of all inputs."""
        return sum(array.nbytes for array in self.inputs)

    @property
    def result_bytes(self) -> int:
        """Bytes of all results."""
        return sum(type.nbytes for type in self.results)

    def inlined(self, *, ordered: bool = True) -> Graph:
        """Return the graph with the elements of every input in it.

        Args:
            ordered: As they lie in memory, as far as possible; False: in C order, so equal arrays give equal bytes.
        """
        return self.with_inputs(
            lambda node, array: _with_elements(node if ordered else replace(node, order=None), array)
        )

    def with_inputs(self, change: Callable[[Input, AnyArray], Input]) -> Graph:
        """Return the graph with other inputs, each made of the one that it replaces and its array."""
        arrays = iter(self.inputs)
        nodes = (change(node, next(arrays)) if isinstance(node, Input) else node for node in self.graph.nodes)
        return replace(self.graph, nodes=tuple(nodes))


def _with_elements(node: Input, array: AnyArray) -> Input:
    return replace(node, inline=in_order(array, node.order).tobytes())


def build(outputs: Sequence[Expression]) -> Computation:
    """Return what computes some expressions.

    Nodes that expressions share become one node, and arrays that are the same memory one input.

    Raises:
        GraphError: More nodes than a graph may have.
    """
    builder = _Builder()
    numbers = tuple(builder.number(output) for output in outputs)
    if len(builder.nodes) > MAX_NODES:
        raise GraphError(
            f"the expression has {len(builder.nodes)} nodes, a job at most {MAX_NODES}: keep intermediate results on "
            "the server with put, and go on from their handles"
        )
    graph = Graph(tuple(builder.nodes), numbers)
    return Computation(graph, tuple(builder.inputs), tuple(output.type for output in outputs))


class _Builder:
    """Numbers nodes so that operands come first, without recursion: expressions may be thousands deep."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[AnyArray] = []
        self._numbers: dict[int, int] = {}
        """By the identity of the term: the expression keeps all of them alive."""
        self._leaves: dict[Hashable, int] = {}
        """By what makes two leaves the same node."""

    def number(self, output: Term) -> int:
        """Return the number of a term, after numbering all that it reads."""
        stack = [output]
        while stack:
            missing = self._missing(stack[-1])
            if missing:
                stack.extend(reversed(missing))
            else:
                self._add(stack.pop())
        return self._numbers[id(output)]

    def _missing(self, term: Term) -> list[Term]:
        if not isinstance(term, Applied) or id(term) in self._numbers:
            return []
        return [operand for operand in term.operands() if id(operand) not in self._numbers]

    def _add(self, term: Term) -> None:
        if id(term) not in self._numbers:
            self._numbers[id(term)] = self._operation(term) if isinstance(term, Applied) else self._leaf(term)

    def _operation(self, term: Applied) -> int:
        args = tuple(self._numbers[id(arg)] for arg in term.args)
        return self._append(Operation(term.name, args, {name: self._param(name, term) for name in term.params}))

    def _leaf(self, leaf: Local | Stored | Weak | np.generic) -> int:
        key = _key(leaf)
        if key not in self._leaves:
            self._leaves[key] = self._append(self._node(leaf))
        return self._leaves[key]

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _node(self, leaf: Local | Stored | Weak | np.generic) -> Node:
        match leaf:
            case Local():
                self.inputs.append(leaf.data)
                return Input(leaf.data.shape, leaf.data.dtype, preferred_order(leaf.data))
            case Stored():
                return Resident(leaf.id, leaf.slices)
            case _:
                return Constant(leaf)

    def _param(self, name: str, term: Applied) -> Any:
        value = term.params[name]
        return NodeRef(self._numbers[id(value)]) if name in ARRAY_PARAMS else value


def _key(leaf: Local | Stored | Weak | np.generic) -> Hashable:
    """Return what makes two leaves the same node."""
    match leaf:
        case Local():
            data = leaf.data
            return data.__array_interface__["data"][0], data.shape, data.strides, data.dtype.str
        case Stored():
            return leaf.id, leaf.slices
        case np.generic():
            return leaf.dtype.str, leaf.tobytes()
        case _:
            return type(leaf), repr(leaf)  # repr tells 0.0 from -0.0, and NaN is NaN
