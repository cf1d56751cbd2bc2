"""Inputs whose elements came inside the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_proto.errors import InvalidJobError
from arraymill_proto.graph import Graph, Input, Order
from arraymill_proto.limits import UNARY_BYTES
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc import inputs
from arraymill_server.rpc.inputs import InlineInputs

ORDERS: list[Order] = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
X = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def inline(order: Order | None) -> Graph:
    return Graph((Input(X.shape, X.dtype, order, X.transpose(order or (0, 1, 2)).tobytes()),), (0,))


@given(st.sampled_from([None, *ORDERS]), st.sampled_from(ORDERS), st.integers(0, 48), st.integers(0, 48))
def test_every_range_of_every_order(declared: Order | None, order: Order, start: int, stop: int) -> None:
    start, stop = sorted((start, stop))
    target = bytearray(stop - start)
    assert InlineInputs(inline(declared)).fill(Wanted(0, start, len(target), order), memoryview(target))
    assert bytes(target) == X.transpose(order).tobytes()[start:stop]


def test_an_order_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Order] = []
    convert = inputs.in_order

    def counting(node: Input, order: Order) -> memoryview | None:
        made.append(order)
        return convert(node, order)

    monkeypatch.setattr(inputs, "in_order", counting)
    given_inputs = InlineInputs(inline(None))
    for start in range(0, 48, 2):
        for order in ORDERS[:2]:
            assert given_inputs.fill(Wanted(0, start, 2, order), memoryview(bytearray(2)))
    assert made == ORDERS[:2]


def test_inputs_that_are_not_inline() -> None:
    streamed = Input((2, 5), np.dtype("f8"))
    some = InlineInputs(Graph((inline(None).nodes[0], streamed, streamed), (0,)))
    assert (some.nbytes, some.missing, InlineInputs(inline(None)).missing) == ((48, 80, 80), 1, None)
    assert not some.fill(Wanted(1, 0, 8, (0, 1)), memoryview(bytearray(8)))


def test_the_sum_of_inline_inputs_is_bounded() -> None:
    half = Input((UNARY_BYTES // 2,), np.dtype("u1"), None, bytes(UNARY_BYTES // 2))
    one = Input((1,), np.dtype("u1"), None, b"1")
    InlineInputs(Graph((half, half), (0,)))
    with pytest.raises(InvalidJobError, match="1,048,577 bytes, one job takes 1,048,576"):
        InlineInputs(Graph((half, half, one), (0,)))
