"""Validation of a whole graph: references, shapes, parameters, bytes; and the type of every node.

The client runs it before it sends a job, the server before it plans one: both refuse the same jobs with the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from arraymill_proto.catalogue import ARRAY_PARAMS, Operand, check_shape, infer, operand_type
from arraymill_proto.dtypes import native
from arraymill_proto.errors import ArraymillError, DTypeError, GraphError, ParameterError, ShapeError
from arraymill_proto.graph import (
    ArrayType,
    Constant,
    Graph,
    Input,
    Node,
    NodeRef,
    Operation,
    Order,
    ParamValue,
    Resident,
    Shape,
    Slice,
)
from arraymill_proto.limits import MAX_NODES, MAX_OPERANDS, shorten

ResidentTypes: TypeAlias = Callable[[Resident], ArrayType]
"""Gives the type of the whole array that a node names (its slices are applied here), or raises ArrayNotFoundError."""


def infer_graph(graph: Graph, resident: ResidentTypes) -> tuple[Operand, ...]:
    """Validate a graph and return what is known of each node: the type of an array, or the value of a constant.

    Args:
        graph: The job.
        resident: Gives the type of the whole array that a Resident node names.

    Raises:
        ArraymillError: The first defect, with the number of the node and its operation in the message and in
            `details["node"]`.
    """
    if len(graph.nodes) > MAX_NODES:
        raise GraphError(
            f"a graph of {len(graph.nodes)} nodes: at most {MAX_NODES} are allowed", nodes=len(graph.nodes)
        )
    known: list[Operand] = []
    for index, node in enumerate(graph.nodes):
        try:
            known.append(_infer_node(node, known, resident))
        except ArraymillError as exc:
            raise exc.located(f"node {index}, {_kind(node)}", node=index) from exc.__cause__
    _check_outputs(graph.outputs, known)
    return tuple(known)


def _kind(node: Node) -> str:
    """Begin a message with what the node is; errors of an operation begin with its name already."""
    return "" if isinstance(node, Operation) else f"{type(node).__name__.lower()}: "


def _infer_node(node: Node, known: Sequence[Operand], resident: ResidentTypes) -> Operand:
    match node:
        case Operation():
            return _infer_operation(node, known)
        case Input():
            return input_type(node)
        case Resident():
            return sliced_type(resident(node), node.slices)
        case Constant():
            return _constant(node)


def _infer_operation(node: Operation, known: Sequence[Operand]) -> Operand:
    if len(node.args) > MAX_OPERANDS or len(node.params) > MAX_OPERANDS:
        raise GraphError(
            f"{shorten(node.name)}: {len(node.args)} arguments and {len(node.params)} parameters: "
            f"at most {MAX_OPERANDS} of each are allowed"
        )
    operands = [_referred(node.name, reference, known) for reference in node.args]
    if not node.params:
        return infer(node.name, operands)
    bound = {name: _bound(node.name, name, value, known) for name, value in node.params.items()}
    return infer(node.name, operands, bound)


def _referred(name: str, reference: int, known: Sequence[Operand]) -> Operand:
    if not 0 <= reference < len(known):
        raise GraphError(
            f"{shorten(name)}: refers to node {reference}; a node may refer only to nodes before it, so that no graph "
            f"has a cycle",
            reference=reference,
        )
    return known[reference]


def _bound(name: str, parameter: str, value: ParamValue, known: Sequence[Operand]) -> ParamValue | Operand:
    if isinstance(value, NodeRef):
        if parameter not in ARRAY_PARAMS:
            raise ParameterError(
                f"{shorten(name)}: {shorten(parameter)} must be a plain value, not the value of node {value.node}",
                parameter=shorten(parameter),
            )
        return _referred(name, value.node, known)
    if parameter in ARRAY_PARAMS:
        raise ParameterError(
            f"{shorten(name)}: {parameter} must refer to a node, not be {shorten(repr(value))}", parameter=parameter
        )
    return value


def _constant(node: Constant) -> Operand:
    if isinstance(node.value, np.generic):
        native(node.value.dtype)
    else:
        _check_python_number(node.value)
    return node.value


def _check_python_number(value: object) -> None:
    if not isinstance(value, (bool, int, float, complex)):
        raise DTypeError(f"{shorten(repr(value))} is neither a Python number nor a NumPy scalar")


def _check_outputs(outputs: Sequence[int], known: Sequence[Operand]) -> None:
    if not outputs:
        raise GraphError("a graph without outputs: at least one is needed")
    if len(outputs) > MAX_NODES:
        raise GraphError(f"a graph of {len(outputs)} outputs: at most {MAX_NODES} are allowed", outputs=len(outputs))
    for position, reference in enumerate(outputs):
        if not 0 <= reference < len(known):
            raise GraphError(
                f"output {position} refers to node {reference} of a graph of {len(known)} nodes",
                output=position,
                reference=reference,
            )
        try:
            operand_type(known[reference])
        except ArraymillError as exc:
            raise exc.located(f"output {position}, node {reference}: ", output=position, node=reference) from None


def input_type(node: Input) -> ArrayType:
    """Check an input and return the type of its value.

    Raises:
        ShapeError: No array has this shape, its order is no permutation, or its inline bytes are too few or many.
        DTypeError: Its dtype is not supported.
    """
    dtype = native(node.dtype)
    check_shape(node.shape, dtype.itemsize)
    if node.order is not None:
        check_order(node.order, node.shape)
    if node.inline is not None:
        given = memoryview(node.inline).nbytes
        wanted = prod(node.shape) * dtype.itemsize
        if given != wanted:
            raise ShapeError(
                f"shape {node.shape} of {dtype} needs {wanted} bytes, {given} were sent", needed=wanted, sent=given
            )
    return ArrayType(node.shape, dtype)


def check_order(order: Order, shape: Shape) -> None:
    """Check that an order of axes is a permutation of the axes of `shape`.

    Raises:
        ShapeError: It is not.
    """
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(
            f"order {shorten(str(order))} is not a permutation of the {len(shape)} axes of shape {shape}",
            order=shorten(str(order)),
        )


def sliced_type(whole: ArrayType, slices: Sequence[Slice]) -> ArrayType:
    """Return the type of a basic slice of an array.

    Raises:
        ShapeError: More slices than axes, or a slice that leaves its axis.
    """
    if len(slices) > whole.ndim:
        raise ShapeError(f"{len(slices)} slices of an array of {whole.ndim} dimensions", slices=len(slices))
    if not slices:
        return whole
    for axis, piece in enumerate(slices):
        _check_slice(axis, piece, whole.shape[axis])
    taken = tuple(piece.length for piece in slices if not piece.drop)
    return ArrayType(taken + whole.shape[len(slices) :], whole.dtype)


def _check_slice(axis: int, piece: Slice, length: int) -> None:
    last = piece.start + (piece.length - 1) * piece.step
    inside = piece.length == 0 or (0 <= piece.start < length and 0 <= last < length)
    if piece.step == 0 or piece.length < 0 or not inside or (piece.drop and piece.length != 1):
        raise ShapeError(f"{piece} does not lie within axis {axis} of length {length}", axis=axis, length=length)
