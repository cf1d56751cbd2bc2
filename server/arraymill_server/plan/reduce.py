"""Reductions and scans of a graph as the specifications that kernels read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from arraymill_proto.catalogue import normalise_axes
from arraymill_proto.graph import ArrayType, Constant, Node, NodeRef, Operation, Order
from arraymill_server.ops.reductions import REDUCTIONS
from arraymill_server.ops.spec import ReduceSpec, Scalar, ScanSpec


def reduced_axes(node: Operation, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction reduces, ascending, as the user counts them."""
    axis = node.params.get("axis")
    return tuple(sorted(normalise_axes(cast("int | tuple[int, ...] | None", axis), ndim)))


def reduce_spec(nodes: Sequence[Node], types: Sequence[ArrayType], index: int, order: Order) -> ReduceSpec:
    """Describe the reduction at a node to kernels, its axes counted in a domain whose axes are taken in `order`."""
    node = nodes[index]
    assert isinstance(node, Operation)
    source = types[node.args[0]]
    axes = reduced_axes(node, source.ndim)
    dtype = node.params.get("dtype")
    return ReduceSpec(
        op=node.name,
        axes=tuple(sorted(order.index(axis) for axis in axes)),
        source=source.dtype.str,
        result=types[index].dtype.str,
        dtype=dtype.str if isinstance(dtype, np.dtype) else "",
        masked="where" in node.params,
        ddof=float(cast("float", node.params.get("ddof", 0.0))),
        initial=_initial(nodes, node),
        flat=source.shape if counts_flat(node) else (),
    )


def counts_flat(node: Operation) -> bool:
    """True for positions that are counted in C order of the whole array."""
    return node.name in ("argmin", "argmax") and "axis" not in node.params


def scan_spec(nodes: Sequence[Node], types: Sequence[ArrayType], index: int, order: Order) -> ScanSpec:
    """Describe the scan at a node to kernels."""
    node = nodes[index]
    assert isinstance(node, Operation)
    source = types[node.args[0]]
    flat = ravels(node, source.ndim)
    axis = cast("int | None", node.params.get("axis"))
    position = 0 if flat else order.index(normalise_axes(axis, source.ndim)[0])
    return ScanSpec(node.name, position, source.dtype.str, types[index].dtype.str, flat)


def ravels(node: Operation, ndim: int) -> bool:
    """True for a scan whose result has one dimension and its argument, of `ndim` dimensions, has not."""
    return ndim == 0 or ("axis" not in node.params and ndim != 1)


def empty_result(nodes: Sequence[Node], types: Sequence[ArrayType], index: int) -> np.generic:
    """The value that NumPy gives for the reduction of no elements."""
    if not types[index].size:
        return types[index].dtype.type(0)
    spec = reduce_spec(nodes, types, index, tuple(range(types[cast("Operation", nodes[index]).args[0]].ndim)))
    reduction = REDUCTIONS[spec.op]
    parts = tuple(np.empty((), dtype) for dtype in reduction.components(spec))
    out = np.empty((), spec.result)
    with np.errstate(all="ignore"):  # the mean of nothing is nan, without a word
        reduction.identity(spec, parts)
        reduction.finish(spec, parts, 0, out)
    return cast("np.generic", out[()])


def _initial(nodes: Sequence[Node], node: Operation) -> Scalar | None:
    reference = node.params.get("initial")
    if not isinstance(reference, NodeRef):
        return None
    return Scalar.of(cast("Constant", nodes[reference.node]).value)
