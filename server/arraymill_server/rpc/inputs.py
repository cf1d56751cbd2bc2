"""Inputs whose elements came inside the graph."""

from __future__ import annotations

from math import prod

import numpy as np

from arraymill_proto.errors import InvalidJobError
from arraymill_proto.graph import Graph, Input, Order
from arraymill_proto.limits import UNARY_BYTES
from arraymill_server.plan.model import Wanted


class InlineInputs:
    """Answers wants for inline inputs at once, without the client.

    Raises:
        InvalidJobError: The inline inputs have more bytes than one message may bring.
    """

    def __init__(self, graph: Graph) -> None:
        self._inputs = [node for node in graph.nodes if isinstance(node, Input)]
        self._ordered: dict[tuple[int, Order], memoryview] = {}
        """The bytes of inputs as they were wanted: several passes, and many blocks, ask in one order."""
        nbytes = self.inline_bytes = sum(len(node.inline) for node in self._inputs if node.inline is not None)
        """Bytes of the inputs that are inline."""
        if nbytes > UNARY_BYTES:
            raise InvalidJobError(
                f"the inline inputs have {nbytes:,} bytes, one job takes {UNARY_BYTES:,}; leave `inline` out and "
                "stream them on Run",
                inline_bytes=nbytes,
                limit=UNARY_BYTES,
            )

    @property
    def nbytes(self) -> tuple[int, ...]:
        """Bytes of each input of the job, inline or not."""
        return tuple(prod(node.shape) * node.dtype.itemsize for node in self._inputs)

    @property
    def missing(self) -> int | None:
        """The first input that is not inline."""
        return next((number for number, node in enumerate(self._inputs) if node.inline is None), None)

    def fill(self, wanted: Wanted, target: memoryview) -> bool:
        """Copy a range to its place; False when the input is not inline."""
        key = wanted.number, wanted.order
        data = self._ordered.get(key)
        if data is None:
            data = in_order(self._inputs[wanted.number], wanted.order)
            if data is None:
                return False
            self._ordered[key] = data
        target[:] = data[wanted.offset : wanted.offset + wanted.nbytes]
        return True


def in_order(node: Input, order: Order) -> memoryview | None:
    """Return the bytes of an inline input with its axes in an order, None when it is not inline."""
    if node.inline is None:
        return None
    declared = node.order or tuple(range(len(node.shape)))
    if declared == order:
        return memoryview(node.inline)
    stored = np.frombuffer(node.inline, node.dtype).reshape([node.shape[axis] for axis in declared])
    return memoryview(stored.transpose([declared.index(axis) for axis in order]).tobytes())
