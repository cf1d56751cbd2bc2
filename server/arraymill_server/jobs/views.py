"""Slices of resident arrays as strided views of the arena: nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence

from arraymill_proto.graph import Slice
from arraymill_server.jobs.residents import ResidentArray
from arraymill_server.plan.domain import strides_in
from arraymill_server.plan.model import ResidentView


def view_of(array: ResidentArray, slices: Sequence[Slice]) -> ResidentView:
    """Where a slice of a resident array lies. The slices are valid: `infer_graph` has checked them.

    Args:
        array: The array.
        slices: One per leading axis; later axes are taken whole.
    """
    strides = strides_in(array.type.shape, array.order, array.type.dtype.itemsize)
    offset = array.lease.offset
    left: list[tuple[int, int]] = []
    for axis, (length, stride) in enumerate(zip(array.type.shape, strides, strict=True)):
        piece = slices[axis] if axis < len(slices) else Slice(0, 1, length)
        if piece.length:
            offset += piece.start * stride
        if not piece.drop:
            left.append((piece.length, piece.step * stride))
    return ResidentView(offset, tuple(n for n, _ in left), tuple(s for _, s in left), array.type.dtype)
