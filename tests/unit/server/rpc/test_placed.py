"""Arrays in shared memory: every offset, stride and index is the client's, and checked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_lane import PAGE, budget_of, is_free

from arraymill_proto.errors import ArraymillError, ArrayNotFoundError, InvalidJobError, ShapeError
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.request import Target
from arraymill_server.rpc.placed import Placed, check_within, find_placed
from arraymill_server.rpc.shared import Held, SharedMemory

HUGE = (1 << 64) - 1
GRAPH = Graph(
    (Input((3, 4), np.dtype("f8")), Input((0, 2), np.dtype("i4")), Operation("sqrt", (0,)), Input((), np.dtype("i1"))),
    (2, 0),
)
"""Inputs 0, 1 and 2 are the nodes 0, 1 and 3."""


@asynccontextmanager
async def two_segments() -> AsyncGenerator[tuple[SharedMemory, Held, Held]]:
    """A client's memory: segments of a page and of two; nothing is left of them."""
    budget = budget_of(64 * PAGE)
    memory = SharedMemory(budget, "me")
    yield memory, await memory.make(PAGE), await memory.make(2 * PAGE)
    memory.close()
    assert is_free(budget), "somebody still holds a segment"


def told(index: int, held: Held | int, offset: int, *strides: int) -> pb.Placed:
    number = held if isinstance(held, int) else held.segment.number
    return pb.Placed(index=index, segment=number, offset=offset, strides=strides)


def found(memory: SharedMemory, inputs: list[pb.Placed], outputs: list[pb.Placed] | None = None) -> Placed:
    return find_placed(GRAPH, pb.SharedMemory(inputs=inputs, outputs=outputs or []), memory)


async def test_arrays_are_where_they_are_told_and_held_as_long_as_they_are_used() -> None:
    async with two_segments() as (memory, one, two):
        inputs = [told(2, two, 2 * PAGE - 1), told(0, two, PAGE, 64, 8), told(1, one, PAGE, 8, 4)]
        with found(memory, inputs, [told(0, one, 8), told(1, two, 2 * PAGE)]) as placed:
            view = placed.views[0]
            assert (view.offset, view.shape, view.strides) == (two.segment.address + PAGE, (3, 4), (64, 8))
            assert (placed.views[3].offset, placed.views[3].dtype.str) == (two.segment.address + 2 * PAGE - 1, "|i1")
            assert placed.views[1].nbytes == 0
            assert placed.targets == (
                Target(one.segment.address + 8, PAGE - 8),
                Target(two.segment.address + 2 * PAGE, 0),
            )
            assert (repr(one)[-2:], repr(two)[-2:]) == ("3>", "4>")
            release = placed.hold()
            memory.close()
        assert (repr(one)[-2:], repr(two)[-2:]) == ("2>", "3>")
        release()
        release()


WRONG_INPUTS = {
    "no such input": (told(3, 1, 0), InvalidJobError, "input 3 in shared memory: the job has 3 inputs"),
    "no such segment": (told(0, 77, 0, 32, 8), ArrayNotFoundError, "no segment 77"),
    "no segment": (told(0, 0, 0, 32, 8), ArrayNotFoundError, "no segment 0"),
    "no strides": (told(0, 1, 0), ShapeError, "0 strides for an array of 2 dimensions"),
    "a stride more": (told(0, 1, 0, 32, 8, 8), ShapeError, "3 strides"),
    "a byte too far": (told(0, 1, PAGE - 95, 32, 8), ShapeError, f"would end at byte {PAGE + 1:,} of {PAGE:,}"),
    "too large a stride": (told(0, 1, 0, PAGE, 8), ShapeError, "would end"),
    "the largest stride": (told(0, 1, 0, 32, HUGE), ShapeError, "would end"),
    "the largest offset": (told(0, 1, HUGE, 32, 8), ShapeError, "would end"),
    "all of the largest": (told(0, 1, HUGE, HUGE, HUGE), ShapeError, "would end"),
    "nothing, beyond the end": (told(1, 1, PAGE + 1, 8, 4), ShapeError, "would end"),
    "nothing, far away": (told(1, 1, HUGE, 8, 4), ShapeError, "would end"),
    "a scalar at the end": (told(2, 1, PAGE), ShapeError, "would end"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
async def test_wrong_inputs(name: str) -> None:
    wrong, error, text = WRONG_INPUTS[name]
    async with two_segments() as (memory, _, two):
        with pytest.raises(error, match=text):
            found(memory, [told(0, two, 0, 32, 8) if wrong.index else told(2, two, 0), wrong])
        assert (repr(two)[-2:]) == "1>"


async def test_an_input_is_in_one_place() -> None:
    async with two_segments() as (memory, one, two):
        with pytest.raises(InvalidJobError, match="each in one place"):
            found(memory, [told(2, one, 0), told(2, two, 0)])


@pytest.mark.parametrize("indexes", [[0], [1], [1, 0], [0, 0], [0, 1, 2], [1, 2]])
async def test_outputs_are_all_told_in_their_order(indexes: list[int]) -> None:
    async with two_segments() as (memory, one, _):
        with pytest.raises(InvalidJobError, match=f"{len(indexes)} outputs in shared memory of a job of 2"):
            found(memory, [], [told(index, one, 0) for index in indexes])


@pytest.mark.parametrize("offset", [PAGE + 1, HUGE])
async def test_outputs_beyond_the_end(offset: int) -> None:
    async with two_segments() as (memory, one, two):
        with pytest.raises(ShapeError, match=f"begin at byte {offset:,} of {PAGE:,}"):
            found(memory, [], [told(0, two, 0), told(1, one, offset)])
        with pytest.raises(ArrayNotFoundError):
            found(memory, [], [told(0, two, 0), told(1, 9, 0)])


async def test_steps_along_axes_of_one_element_are_forgotten() -> None:
    """They lead nowhere, and are too large for anything that counts in 64 bits."""
    graph = Graph((Input((1, 5), np.dtype("f8")), Input((0, 2), np.dtype("f8"))), (0, 1))
    async with two_segments() as (memory, one, _):
        shared = pb.SharedMemory(inputs=[told(0, one, 8, HUGE, 16), told(1, one, 0, HUGE, 8)])
        with find_placed(graph, shared, memory) as placed:
            assert (placed.views[0].strides, placed.views[1].strides[0]) == ((0, 16), 0)


@given(st.integers(0, PAGE + 20), st.lists(st.tuples(st.integers(0, 4), st.integers(0, PAGE)), max_size=3), st.data())
async def test_what_passes_lies_within(offset: int, axes: list[tuple[int, int]], data: st.DataObject) -> None:
    shape, strides = tuple(length for length, _ in axes), tuple(stride for _, stride in axes)
    itemsize = data.draw(st.sampled_from([1, 8, 16]))
    async with two_segments() as (_, one, _):
        try:
            check_within(one.segment, offset, shape, strides, itemsize)
        except ArraymillError:
            is_within = False
        else:
            is_within = True
        places = [
            offset + sum(at * stride for at, stride in zip(index, strides, strict=True)) for index in np.ndindex(*shape)
        ]
        ends = [place + itemsize for place in places] or [offset]
        assert is_within == (max(ends) <= PAGE)
