"""Graphs and their nodes as messages."""

from __future__ import annotations

from arraymill_proto.codec.types import dtype_to_pb, numbers, slice_from_pb, slice_to_pb
from arraymill_proto.codec.values import constant_from_pb, param_from_pb, write_constant, write_param
from arraymill_proto.dtypes import from_code, is_big_endian
from arraymill_proto.errors import ArraymillError, DTypeError, GraphError, ShapeError
from arraymill_proto.graph import NO_PARAMS, Constant, Graph, Input, Node, Operation, Params, Resident
from arraymill_proto.limits import MAX_DIMENSIONS, MAX_NODES, MAX_OPERANDS, shorten
from arraymill_proto.v1 import arraymill_pb2 as pb


def graph_to_pb(graph: Graph) -> pb.Graph:
    """Return the message of a graph.

    Raises:
        ArraymillError: A constant or parameter cannot travel; the message names the node.
    """
    message = pb.Graph(outputs=graph.outputs)
    for index, node in enumerate(graph.nodes):
        try:
            _write_node(message.nodes.add(), node)
        except ArraymillError as exc:
            raise exc.located(f"node {index}, ", node=index) from exc.__cause__
    return message


def graph_from_pb(message: pb.Graph) -> Graph:
    """Return the graph that a message describes; whether it makes sense is for `validate`.

    Raises:
        ArraymillError: A node is of a kind or dtype that this side does not know, or far too large; the message names
            the node.
    """
    for what, count in (("nodes", len(message.nodes)), ("outputs", len(message.outputs))):
        if count > MAX_NODES:
            raise GraphError(f"a graph of {count} {what}: at most {MAX_NODES} are allowed", count=count)
    nodes: list[Node] = []
    for index, node in enumerate(message.nodes):
        try:
            nodes.append(_read_node(node))
        except ArraymillError as exc:
            raise exc.located(f"node {index}, ", node=index) from exc.__cause__
    return Graph(tuple(nodes), tuple(message.outputs))


def _write_node(message: pb.Node, node: Node) -> None:
    match node:
        case Operation():
            message.operation.name = node.name
            message.operation.args.extend(node.args)
            for name, value in node.params.items():
                write_param(message.operation.params[name], name, value)
        case Input():
            message.input.CopyFrom(_input_to_pb(node))
        case Resident():
            message.resident.id = node.id
            message.resident.slices.extend(map(slice_to_pb, node.slices))
        case Constant():
            write_constant(message.constant, node.value)


def _read_node(message: pb.Node) -> Node:
    match message.WhichOneof("kind"):
        case "operation":
            return _operation_from_pb(message.operation)
        case "input":
            return _input_from_pb(message.input)
        case "resident":
            if len(message.resident.slices) > MAX_DIMENSIONS:
                raise ShapeError(f"{len(message.resident.slices)} slices: at most {MAX_DIMENSIONS} are supported")
            return Resident(message.resident.id, tuple(map(slice_from_pb, message.resident.slices)))
        case "constant":
            return Constant(constant_from_pb(message.constant))
        case _:
            raise GraphError("its kind is missing or newer than this side")


def _input_to_pb(node: Input) -> pb.Input:
    return pb.Input(
        dtype=dtype_to_pb(node.dtype),
        byte_order=pb.BIG_ENDIAN if is_big_endian(node.dtype) else pb.LITTLE_ENDIAN,
        shape=node.shape,
        order=node.order or (),
        inline=None if node.inline is None else bytes(node.inline),
        fingerprint=node.fingerprint,
    )


def _input_from_pb(message: pb.Input) -> Input:
    if message.byte_order not in (pb.LITTLE_ENDIAN, pb.BIG_ENDIAN):
        raise DTypeError(f"byte order {message.byte_order} is unknown: 0 is little-endian, 1 is big-endian")
    return Input(
        shape=numbers(message.shape, "dimensions"),
        dtype=from_code(message.dtype, big_endian=message.byte_order == pb.BIG_ENDIAN),
        order=numbers(message.order, "axes in order") or None,
        inline=message.inline if message.HasField("inline") else None,
        fingerprint=message.fingerprint,
    )


def _operation_from_pb(message: pb.Operation) -> Operation:
    if len(message.args) > MAX_OPERANDS or len(message.params) > MAX_OPERANDS:
        raise GraphError(
            f"{shorten(message.name)}: {len(message.args)} arguments and {len(message.params)} parameters: "
            f"at most {MAX_OPERANDS} of each are allowed"
        )
    params: Params = NO_PARAMS
    if message.params:
        params = {name: param_from_pb(name, value) for name, value in message.params.items()}
    return Operation(message.name, tuple(message.args), params)
