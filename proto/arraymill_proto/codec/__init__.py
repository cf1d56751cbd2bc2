"""Between the values of `graph` and `frames` and the generated messages, in both directions.

What comes from the wire is bounded before it is unfolded, and every oddity of a peer becomes a typed error; whether a
graph makes sense is for `validate`. Apart from the rpc layers only this package touches generated code.
"""

from arraymill_proto.codec.graph import graph_from_pb, graph_to_pb
from arraymill_proto.codec.run import parse_request, parse_response
from arraymill_proto.codec.types import (
    dtype_from_pb,
    dtype_to_pb,
    slice_from_pb,
    slice_to_pb,
    type_from_pb,
    type_to_pb,
)

__all__ = [
    "dtype_from_pb",
    "dtype_to_pb",
    "graph_from_pb",
    "graph_to_pb",
    "parse_request",
    "parse_response",
    "slice_from_pb",
    "slice_to_pb",
    "type_from_pb",
    "type_to_pb",
]
