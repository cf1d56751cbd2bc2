"""Inputs whose elements came inside the graph."""

from __future__ import annotations

import numpy as np

from arraymill_proto.graph import Graph, Input
from arraymill_server.plan.model import Wanted


class InlineInputs:
    """Answers wants for inline inputs at once, without the client."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = [node for node in graph.nodes if isinstance(node, Input)]

    @property
    def nbytes(self) -> tuple[int, ...]:
        """Bytes of each input of the job, inline or not."""
        return tuple(node.dtype.itemsize * _size(node) for node in self._inputs)

    @property
    def missing(self) -> int | None:
        """The first input that is not inline."""
        return next((number for number, node in enumerate(self._inputs) if node.inline is None), None)

    def fill(self, wanted: Wanted, target: memoryview) -> bool:
        """Copy a range to its place; False when the input is not inline."""
        node = self._inputs[wanted.number]
        if node.inline is None:
            return False
        declared = node.order or tuple(range(len(node.shape)))
        data: bytes | memoryview = node.inline
        if declared != wanted.order:
            stored = np.frombuffer(data, node.dtype).reshape([node.shape[axis] for axis in declared])
            data = stored.transpose([declared.index(axis) for axis in wanted.order]).tobytes()
        target[:] = memoryview(data)[wanted.offset : wanted.offset + wanted.nbytes]
        return True


def _size(node: Input) -> int:
    size = 1
    for length in node.shape:
        size *= length
    return size
