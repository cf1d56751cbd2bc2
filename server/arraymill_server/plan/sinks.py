"""What becomes of the registers of a piece: stored, reduced to the block's partial, or scanned.

Each function takes the sink, the layout and the task's regions, and returns what is called with every piece in order.
The pieces of a cell of a partial come in C order; the first one makes the cell, the others are merged into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add
from typing import Any, TypeAlias

import numpy as np

from arraymill_proto.errors import InternalError
from arraymill_server.ops.casting import cast_into
from arraymill_server.ops.reductions import REDUCTIONS, Parts
from arraymill_server.ops.scans import SCANS
from arraymill_server.plan.layout import Array, DType, Layout, Mask, Piece, Shape, broadcast_mask
from arraymill_server.plan.program import Reduce, Scan, Sink, Store

Take: TypeAlias = Callable[[Sequence[Any], Piece], None]
"""(registers, piece): take what is wanted out of the registers of one piece."""


def sink_dtypes(sink: Sink) -> tuple[DType, ...]:
    """Return the dtypes of a sink's output regions."""
    if isinstance(sink, Store):
        return (np.dtype(sink.dtype),)
    if isinstance(sink, Reduce):
        return REDUCTIONS[sink.spec.op].components(sink.spec)
    return np.dtype(sink.spec.result), *SCANS[sink.spec.op].components(sink.spec)


def make_take(number: int, sink: Sink, layout: Layout, start: Shape, outputs: Parts) -> Take | None:
    """Make what takes a sink's register out of each piece; None when there is nothing to do.

    Args:
        number: The sink's number in the program.
        sink: The sink.
        layout: How the block is walked.
        start: Index of the block's first element in the domain.
        outputs: Views of the sink's output regions.
    """
    if isinstance(sink, Store):
        return None if layout.direct.get(sink.arg) == number else _make_store(sink, outputs[0])
    if isinstance(sink, Reduce):
        return _make_reduce(sink, layout, start, outputs)
    return _make_scan(sink, layout, outputs)


def _make_whole(arg: int, layout: Layout, dtype: DType) -> Callable[[Sequence[Any], Piece], Array]:
    """Make what returns a register with the full shape of the piece."""
    if arg >= 0 and layout.shapes[arg] == layout.block:
        return lambda registers, piece: registers[arg]
    return lambda registers, piece: np.broadcast_to(np.asarray(registers[arg], dtype), piece.shape)


def _make_store(sink: Store, out: Array) -> Take:
    arg, mask = sink.arg, broadcast_mask(out.shape)

    def take(registers: Sequence[Any], piece: Piece) -> None:
        cast_into(out[piece.of(mask)], registers[arg])

    return take


def _make_reduce(sink: Reduce, layout: Layout, start: Shape, parts: Parts) -> Take | None:
    spec, where = sink.spec, sink.where
    reduction = REDUCTIONS[spec.op]
    if not layout.pieces:
        reduction.identity(spec, parts)
        return None
    mask: Mask = tuple(axis in spec.axes for axis in range(len(layout.block)))
    whole = _make_whole(sink.arg, layout, np.dtype(spec.source))
    where_of = None if where is None else _make_whole(where, layout, np.dtype(np.bool_))
    full, first = all(mask), layout.first_pieces(spec.axes)
    spare: dict[Shape, Parts] = {}

    def take(registers: Sequence[Any], piece: Piece) -> None:
        cell = parts if full else tuple([part[piece.of(mask)] for part in parts])
        origin = tuple(map(add, start, piece.start))
        chosen = None if where_of is None else where_of(registers, piece)
        if first[piece.number]:
            reduction.step(spec, whole(registers, piece), chosen, origin, cell)
            return
        shape = cell[0].shape
        partial = spare.get(shape)
        if partial is None:
            partial = spare[shape] = tuple([np.empty(shape, part.dtype) for part in cell])
        reduction.step(spec, whole(registers, piece), chosen, origin, partial)
        reduction.merge(spec, cell, partial, cell)

    return take


def _make_scan(sink: Scan, layout: Layout, outputs: Parts) -> Take | None:
    spec = sink.spec
    scan = SCANS[spec.op]
    out, total = outputs[0], outputs[1:]
    if not layout.pieces:
        scan.identity(spec, total)
        return None
    whole = _make_whole(sink.arg, layout, np.dtype(spec.source))
    no_mask: Mask = (False,) * len(layout.block)
    if spec.flat:
        if not out.flags.c_contiguous:
            raise InternalError("the output of a flat scan must be contiguous")
        out, total = out.reshape(layout.block), tuple(part.reshape(1) for part in total)

        def take_flat(registers: Sequence[Any], piece: Piece) -> None:
            target = out[piece.of(no_mask)].reshape(-1)
            scan.step(spec, whole(registers, piece).reshape(-1), target, total, first=not any(piece.start))

        return take_flat
    mask: Mask = tuple(axis == spec.axis for axis in range(len(layout.block)))

    def take(registers: Sequence[Any], piece: Piece) -> None:
        cut = piece.of(mask)
        behind = tuple(part[cut] for part in total)
        scan.step(spec, whole(registers, piece), out[piece.of(no_mask)], behind, first=not piece.start[spec.axis])

    return take
