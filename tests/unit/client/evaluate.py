"""The value of an expression, computed by NumPy in this process: what a server has to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle import numpy_answer

from arraymill._array import Array
from arraymill._expression import expression_of
from arraymill._graph import build
from arraymill_proto.graph import Constant, Graph, Input, Node, NodeRef, Operation, Resident, Slice


def value_of(*arrays: Array, kept: Mapping[str, NDArray[Any]] | None = None) -> list[Any]:
    """Return the values of some Arrays; `kept` holds what handles stand for."""
    job = build([expression_of(array) for array in arrays])
    return evaluate(job.graph, job.inputs, kept or {})


def evaluate(graph: Graph, inputs: tuple[NDArray[Any], ...], kept: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Return the values of a graph's outputs."""
    waiting = iter(inputs)
    known: list[Any] = []
    for node in graph.nodes:
        known.append(next(waiting) if isinstance(node, Input) else _value(node, known, kept))
    return [known[output] for output in graph.outputs]


def _value(node: Node, known: list[Any], kept: Mapping[str, NDArray[Any]]) -> Any:
    match node:
        case Operation():
            params = {
                key: known[given.node] if isinstance(given, NodeRef) else given for key, given in node.params.items()
            }
            return numpy_answer(node.name, [known[arg] for arg in node.args], params)
        case Resident():
            return sliced(kept[node.id], node.slices)
        case Constant():
            return node.value
        case Input():
            raise AssertionError("inputs are the caller's")


def sliced(array: NDArray[Any], slices: tuple[Slice, ...]) -> NDArray[Any]:
    """Take normalised slices of an array, element by element: nothing of Python's slicing is used."""
    for axis, piece in enumerate(slices):
        places = [piece.start + number * piece.step for number in range(piece.length)]
        assert all(0 <= place < array.shape[axis] for place in places)
        array = array.take(np.array(places, np.intp), axis=axis)
    dropped = tuple(axis for axis, piece in enumerate(slices) if piece.drop)
    return array.squeeze(dropped) if dropped else array
