"""From expressions to the graph of a job and the arrays that its inputs are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraymill._expression import Applied, Expression, Local, Stored, Term
from arraymill._layout import AnyArray, in_order, preferred_order
from arraymill_proto.catalogue import ARRAY_PARAMS
from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, NodeRef, Operation, Resident
from arraymill_proto.limits import MAX_NODES


@dataclass(frozen=True, slots=True)
class Job:
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

    def inlined(self) -> Graph:
        """Return the graph with the elements of every input in it."""
        arrays = iter(self.inputs)
        nodes = (_with_elements(node, next(arrays)) if isinstance(node, Input) else node for node in self.graph.nodes)
        return replace(self.graph, nodes=tuple(nodes))


def _with_elements(node: Input, array: AnyArray) -> Input:
    return replace(node, inline=in_order(array, node.order).tobytes())


def build(outputs: Sequence[Expression]) -> Job:
    """Return the job that computes some expressions.

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
    return Job(graph, tuple(builder.inputs), tuple(output.type for output in outputs))


class _Builder:
    """Numbers nodes so that operands come first, without recursion: expressions may be thousands deep."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[AnyArray] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, output: Term) -> int:
        """Return the number of a term, after numbering all that it reads."""
        stack = [output]
        while stack:
            term = stack[-1]
            missing = [] if _key(term) in self._numbers else self._missing(term)
            if missing:
                stack.extend(reversed(missing))
                continue
            self._add(stack.pop())
        return self._numbers[_key(output)]

    def _missing(self, term: Term) -> list[Term]:
        if not isinstance(term, Applied):
            return []
        return [operand for operand in term.operands() if _key(operand) not in self._numbers]

    def _add(self, term: Term) -> None:
        key = _key(term)
        if key not in self._numbers:
            node = self._node(term)
            self._numbers[key] = len(self.nodes)
            self.nodes.append(node)

    def _node(self, term: Term) -> Node:
        match term:
            case Applied():
                args = tuple(self._numbers[_key(arg)] for arg in term.args)
                return Operation(term.name, args, {name: self._param(name, term) for name in term.params})
            case Local():
                self.inputs.append(term.data)
                return Input(term.data.shape, term.data.dtype, preferred_order(term.data))
            case Stored():
                return Resident(term.id, term.slices)
            case _:
                return Constant(term)

    def _param(self, name: str, term: Applied) -> Any:
        value = term.params[name]
        return NodeRef(self._numbers[_key(value)]) if name in ARRAY_PARAMS else value


def _key(term: Term) -> Hashable:
    """Return what makes two terms the same node."""
    match term:
        case Applied():
            return id(term)
        case Local():
            data = term.data
            return data.__array_interface__["data"][0], data.shape, data.strides, data.dtype.str
        case Stored():
            return term.id, term.slices
        case np.generic():
            return term.dtype.str, term.tobytes()
        case _:
            return type(term), repr(term)  # repr tells 0.0 from -0.0, and NaN is NaN
