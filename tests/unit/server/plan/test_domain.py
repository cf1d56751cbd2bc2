"""The geometry of a pass against counting one by one."""

from __future__ import annotations

from itertools import permutations, product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes

from arraymill_proto.graph import Order, Shape
from arraymill_server.plan import domain
from arraymill_server.plan.blocks import Grid
from arraymill_server.plan.domain import (
    Domain,
    blocks_per_cell,
    c_order,
    choose_order,
    choose_sequence,
    narrow,
    natural,
    open_cells,
    split_axes,
    spread,
    strides_in,
    widen,
)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    shape = draw(shapes(max_dims=3, max_side=4))
    order = tuple(draw(st.permutations(range(len(shape)))))
    grid = Grid.cut(tuple(shape[axis] for axis in order), 1, draw(st.integers(1, 20)))
    return Domain(shape, order, grid, tuple(draw(st.permutations(range(len(shape))))))


def cells_of(space: Domain, inner: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The cell of each block, in the order of their numbers."""
    blocks = [space.block(number) for number in range(len(space))]
    return [tuple(i for axis, i in enumerate(block.index) if axis not in inner) for block in blocks]


@given(domains())
def test_blocks_cover_the_domain_once(space: Domain) -> None:
    count = np.zeros(space.grid.shape, int)
    for number in range(len(space)):
        block = space.block(number)
        count[tuple(slice(first, first + length) for first, length in zip(block.start, block.shape, strict=True))] += 1
        assert space.grid.at(block.index) == (block.start, block.shape)
        assert all(length <= most for length, most in zip(block.shape, space.block(0).shape, strict=True))
    assert (count == 1).all()


@given(domains(), st.data())
def test_open_cells_and_blocks_per_cell(space: Domain, data: st.DataObject) -> None:
    axes = data.draw(st.sets(st.integers(0, len(space.shape) - 1))) if space.shape else set[int]()
    inner = split_axes(space.grid, axes)
    cells = cells_of(space, inner)
    if not cells:
        return
    per_cell = blocks_per_cell(space.grid, inner)
    assert {cells.count(cell) for cell in cells} == {per_cell}
    most_open = max(len({*cells[:end]} & {*cells[end - 1 :]}) for end in range(1, len(cells) + 1))
    assert open_cells(space.grid, space.sequence, inner) == most_open


def test_only_axes_that_are_cut_count() -> None:
    grid = Grid.cut((3, 1, 4), 1, 4)
    assert grid.counts == (3, 1, 1)
    assert split_axes(grid, (2, 1, 0)) == (0,)


def test_blocks_come_in_c_order_while_open_cells_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.cut((3, 8), 1, 2)
    assert choose_sequence(grid, (0,), 100) == (0, 1)
    monkeypatch.setattr(domain, "OPEN_CELL_BYTES", 399)
    assert choose_sequence(grid, (0,), 100) == (1, 0)
    assert open_cells(grid, (1, 0), (0,)) == 1
    assert choose_sequence(grid, (0, 1), 100) == natural(grid)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_widening_and_narrowing_an_order(order: Order) -> None:
    assert narrow(widen(order, 5), 3) == order
    assert widen(order, 5)[:2] == (0, 1)
    assert narrow(order, 2) == tuple(axis - 1 for axis in order if axis > 0)


def test_most_bytes_choose_the_order() -> None:
    assert choose_order(3, []) == c_order(3)
    assert choose_order(2, [((0, 1), 5), ((1, 0), 6)]) == (1, 0)
    assert choose_order(2, [((0, 1), 5), ((1, 0), 6), ((0,), 2)]) == (0, 1)


@given(shapes(min_side=1, max_dims=4))
def test_strides_are_numpys(shape: Shape) -> None:
    for order in permutations(range(len(shape))):
        array = np.empty([shape[axis] for axis in order]).transpose(np.argsort(order)) if shape else np.empty(())
        significant = [n > 1 for n in shape]
        wanted = [stride for stride, counts in zip(array.strides, significant, strict=True) if counts]
        ours = [stride for stride, counts in zip(strides_in(shape, order, 8), significant, strict=True) if counts]
        assert ours == wanted
        assert prod(shape) == array.size


def test_spreading_over_the_axes_of_a_domain() -> None:
    for order in permutations(range(3)):
        for missing in range(3):
            values = [10, 20, 30][missing:]
            expected = [0] * missing + values
            assert spread(values, order, 0) == tuple(expected[axis] for axis in order)
    assert [spread((), order, 1) for order in product([0])] == [(1,)]
