"""From expressions to the graph of a job and the arrays that its inputs are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np

from arraymill._expression import Applied, Expression, Local, PlainParams, Stored, Term, plain_params
from arraymill._layout import AnyArray, preferred_order
from arraymill_proto.catalogue import ARRAY_PARAMS
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import GraphError
from arraymill_proto.graph import ArrayType, Constant, Graph, Input, Node, NodeRef, Operation, Resident, Shape, Weak
from arraymill_proto.limits import MAX_NODES
from arraymill_proto.v1 import arraymill_pb2 as pb

SKELETONS: Final = 256
"""Graphs of one operation that are kept, those used last: some KB each."""


class Skeleton:
    """A graph that many jobs have, and its message, which is made once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def message(self) -> pb.Graph:
        """The graph without elements. Not to be changed."""
        return graph_to_pb(self.graph)


@dataclass(frozen=True, slots=True)
class Computation:
    """What one call computes."""

    graph: Graph
    inputs: tuple[AnyArray, ...]
    """The array of each input, by its number."""
    results: tuple[ArrayType, ...]
    """The type of each output."""
    skeleton: Skeleton | None = None
    """The graph, where many jobs have it."""

    @property
    def input_bytes(self) -> int:
        """Bytes of all inputs."""
        return sum(array.nbytes for array in self.inputs)

    @property
    def result_bytes(self) -> int:
        """Bytes of all results."""
        return sum(type.nbytes for type in self.results)

    def inlined(self) -> Graph:
        """Return the graph with the elements of every input in it, in C order: equal arrays give equal bytes."""
        return self.with_inputs(lambda node, array: replace(node, order=None, inline=array.tobytes()))

    def with_inputs(self, change: Callable[[Input, AnyArray], Input]) -> Graph:
        """Return the graph with other inputs, each made of the one that it replaces and its array."""
        arrays = iter(self.inputs)
        nodes = (change(node, next(arrays)) if isinstance(node, Input) else node for node in self.graph.nodes)
        return replace(self.graph, nodes=tuple(nodes))


def build(outputs: Sequence[Expression]) -> Computation:
    """Return what computes some expressions.

    Nodes that expressions share become one node, and arrays that are the same memory one input.

    Raises:
        GraphError: More nodes than a graph may have.
    """
    if len(outputs) == 1 and (simple := _simple(outputs[0])) is not None:
        return simple
    builder = _Builder()
    numbers = tuple(builder.number(output) for output in outputs)
    if len(builder.nodes) > MAX_NODES:
        raise GraphError(
            f"the expression has {len(builder.nodes)} nodes, a job at most {MAX_NODES}: keep intermediate results on "
            "the server with put, and go on from their handles"
        )
    graph = Graph(tuple(builder.nodes), numbers)
    return Computation(graph, tuple(builder.inputs), tuple(output.type for output in outputs))


def _simple(output: Expression) -> Computation | None:
    """Return what computes one operation on one array that lies in C order; None: it is something else.

    Small jobs are mostly that, one like the other: to build and to encode the graph of each took a third of their time.
    """
    if not isinstance(output, Applied) or len(output.args) != 1:
        return None
    leaf, params = output.args[0], plain_params(output.params)
    if not isinstance(leaf, Local) or not leaf.data.flags.c_contiguous or params is None:
        return None
    skeleton = _skeleton(output.name, leaf.data.shape, leaf.data.dtype, params)
    return Computation(skeleton.graph, (leaf.data,), (output.type,), skeleton)


@lru_cache(maxsize=SKELETONS)
def _skeleton(name: str, shape: Shape, dtype: np.dtype[np.generic], params: PlainParams) -> Skeleton:
    operation = Operation(name, (0,), {key: value for key, _, value in params})
    return Skeleton(Graph((Input(shape, dtype), operation), (1,)))


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
