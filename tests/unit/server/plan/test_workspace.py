"""Nothing of a job lies where something else of it lies, and everything lies within its workspace."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plans import floats, graph_of, operation, plan_of

from arraymill_proto.graph import Graph, Input
from arraymill_server.plan import workspace
from arraymill_server.plan.model import ALIGNMENT, JobPlan, PassPlan
from arraymill_server.plan.workspace import JobLayout, PassLayout, Pool, fit_depth, is_chained

Extent = tuple[int, int]

MANY_BLOCKS = graph_of(floats(48), operation("sum", 0), operation("var", 0), outputs=(1, 2))
"""Enough of one element for batches."""


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs with everything that takes memory: two passes, scans, stores, small and large partials."""
    shape = draw(st.sampled_from([(6, 5), (30,), (3, 4, 5), (1, 1), (0, 4)]))
    axis = draw(st.sampled_from([{}, {"axis": 0}, {"axis": len(shape) - 1}]))
    reduction = draw(st.sampled_from(["sum", "var", "count_nonzero"]))
    return graph_of(
        Input(shape, np.dtype(draw(st.sampled_from(["f4", ">f8", "i2", "c16"])))),
        operation(reduction, 0, **axis),
        operation("mean", 0, axis=0, keepdims=True),
        operation("subtract", 0, 2),
        operation("cumsum", 3, **axis),
        operation("cumsum", 3, axis=len(shape) - 1),
        outputs=(1, 3, 4, 5),
    )


def extents_of(plan: JobPlan, layout: JobLayout) -> Iterator[list[Extent]]:
    """Everything that lives at once in each pass."""
    lasting = [
        (address, address + len(stage.encoded))
        for step, addresses in zip(plan.passes, layout.programs, strict=True)
        for stage, address in zip(step.stages, addresses, strict=True)
    ]
    lasting += [(layout.held[number], layout.held[number] + nbytes) for number, nbytes in plan.held]
    values = {result.node: result.nbytes for step in plan.passes for result in step.results if result.whole}
    lasting += [(address, address + values[node]) for node, address in layout.values.items()]
    for step, area in zip(plan.passes, layout.passes, strict=True):
        yield lasting + list(_area(step, area))


def _area(step: PassPlan, area: PassLayout) -> Iterator[Extent]:
    for pool in (*area.partials, *area.finished, *area.carries):
        yield from ((pool.address(n), pool.address(n) + pool.buffer_bytes) for n in range(pool.count))
    if not len(step.domain):
        return
    largest = step.domain.block(0)
    elements = int(np.prod(largest.shape))
    blocks = area.batch if step.is_streamed else 1
    sizes = [(offset, blocks * step.operands[n].region_bytes(largest)) for n, offset in area.slot.operands.items()]
    sizes += [(o, elements * scan.dtype.itemsize) for o, scan in zip(area.slot.scanned, step.scans, strict=True)]
    sizes += [(o, scan.carry_bytes) for o, scan in zip(area.slot.totals, step.scans, strict=True)]
    sizes += [(o, elements * step.stores[n].result.type.dtype.itemsize) for n, o in area.slot.stores.items()]
    for number in range(area.slots.count):
        start = area.slots.address(number)
        yield from ((start + offset, start + offset + nbytes) for offset, nbytes in sizes)


@given(graphs(), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0, 1 << 30]))
@example(MANY_BLOCKS, 6, 1, 0)
def test_extents_are_disjoint_aligned_and_inside(graph: Graph, depth: int, elements: int, hold_bytes: int) -> None:
    plan = plan_of(graph, block_elements=elements, hold_bytes=hold_bytes)
    layout = JobLayout(plan, depth)
    for extents in extents_of(plan, layout):
        taken = sorted(extent for extent in extents if extent[0] < extent[1])
        assert all(left[1] <= right[0] for left, right in pairwise(taken))
        assert all(start % ALIGNMENT == 0 for start, _ in taken)
        assert all(start >= 0 and end <= layout.nbytes for start, end in taken)


@given(graphs(), st.integers(1, 9), st.integers(0, 1 << 14))
@example(MANY_BLOCKS, 9, 1 << 10)
def test_the_deepest_layout_that_fits(graph: Graph, wanted: int, room: int) -> None:
    plan = plan_of(graph, block_elements=3)
    sizes = [JobLayout(plan, depth).nbytes for depth in range(1, wanted + 1)]
    assert sizes == sorted(sizes)
    fitting = [nbytes for nbytes in sizes if nbytes <= room]
    assert fit_depth(plan, wanted, room).nbytes == (fitting[-1] if fitting else sizes[0])


def test_no_pass_is_deeper_than_it_has_blocks() -> None:
    plan = plan_of(graph_of(floats(5), operation("sqrt", 0)), block_elements=2)
    assert [area.slots.count for area in JobLayout(plan, 9).passes] == [3]
    nothing = plan_of(graph_of(floats(0, 5), operation("sqrt", 0)))
    assert [area.slots.count for area in JobLayout(nothing, 9).passes] == [1]


@pytest.mark.parametrize(
    ("depth", "slots", "batch"), [(1, 1, 1), (3, 3, 1), (4, 2, 2), (6, 3, 2), (7, 3, 2), (99, 32, 2)]
)
def test_streamed_blocks_lie_in_slots_of_a_batch(depth: int, slots: int, batch: int) -> None:
    plan = plan_of(graph_of(floats(64 * 16), operation("sum", 0)), block_elements=16)
    (area,) = JobLayout(plan, depth).passes
    assert (area.slots.count, area.batch, area.slot.nbytes) == (slots, batch, batch * 128)


def test_large_partials_are_chained_in_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(graph_of(floats(64, 2), operation("sum", 0, axis=0)), block_elements=2)
    (reduction,) = plan.passes[0].reductions
    assert not is_chained(reduction)
    assert JobLayout(plan, 3).passes[0].partials[0].count == 3 + 7 + 1
    monkeypatch.setattr(workspace, "CHAIN_BYTES", reduction.part_bytes - 1)
    assert is_chained(reduction)
    assert JobLayout(plan, 3).passes[0].partials[0].count == 3 + 1 + 1


def test_buffers_of_a_pool_follow_each_other() -> None:
    pool = Pool(128, 64, 3)
    assert [pool.address(number) for number in range(pool.count)] == [128, 192, 256]
