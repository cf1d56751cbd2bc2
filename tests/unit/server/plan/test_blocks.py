"""The grid of slabs."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shapes

from arraymill_server.plan.blocks import BLOCK_BYTES, Grid


def _flat(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    flat = 0
    for position, length in zip(index, shape, strict=True):
        flat = flat * length + position
    return flat


@given(shapes(), st.integers(1, 40))
def test_slabs_follow_each_other_in_c_order_and_cover_the_domain(shape: tuple[int, ...], limit: int) -> None:
    grid = Grid.cut(shape, 8, 8 * limit)
    covered = 0
    for number in range(len(grid)):
        start, extent = grid.block(number)
        assert _flat(start, shape) == covered
        assert 0 < prod(extent) <= limit
        covered += prod(extent)
    assert covered == prod(shape)


@given(shapes(min_side=1), st.integers(1, 40))
def test_slabs_have_at_most_two_shapes_and_the_first_is_largest(shape: tuple[int, ...], limit: int) -> None:
    grid = Grid.cut(shape, 1, limit)
    extents = [grid.block(number)[1] for number in range(len(grid))]
    assert grid.largest() == extents[0]
    assert len(set(extents)) <= 2
    assert all(a <= b for extent in extents for a, b in zip(extent, extents[0], strict=True))


@given(shapes(min_side=1), st.integers(1, 40))
def test_positions_count_slabs_along_each_axis(shape: tuple[int, ...], limit: int) -> None:
    grid = Grid.cut(shape, 1, limit)
    positions = [grid.position(number) for number in range(len(grid))]
    assert positions == sorted(positions)
    assert len(positions) == prod(grid.counts)
    assert [grid.at(position) for position in positions] == [grid.block(number) for number in range(len(grid))]


def test_chunks_are_equalised() -> None:
    grid = Grid.cut((10, 3), 8, 8 * 3 * 4)
    assert [extent for _, extent in map(grid.block, range(len(grid)))] == [(4, 3), (4, 3), (2, 3)]
    assert Grid.cut((9, 3), 8, 8 * 3 * 4).rows == 3


def test_a_domain_without_dimensions_is_one_slab() -> None:
    grid = Grid.cut((), 8, BLOCK_BYTES)
    assert len(grid) == 1
    assert grid.block(0) == ((), ())
    assert grid.largest() == ()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 2)])
def test_an_empty_domain_has_no_slabs(shape: tuple[int, ...]) -> None:
    assert len(Grid.cut(shape, 8, 8)) == 0


def test_a_slab_is_one_element_at_least() -> None:
    assert len(Grid.cut((2, 3), 16, 1)) == 6


def test_the_number_of_elements_can_be_limited() -> None:
    assert Grid.cut((100,), 1, 1 << 20, max_elements=7).rows == 7


@pytest.mark.parametrize("number", [-1, 2])
def test_numbers_out_of_range_are_refused(number: int) -> None:
    with pytest.raises(IndexError, match="of 2"):
        Grid.cut((4,), 1, 2).block(number)


def test_huge_domains_cost_nothing() -> None:
    grid = Grid.cut((1 << 31, 1 << 31), 1, BLOCK_BYTES)
    start, extent = grid.block(len(grid) - 1)
    assert start[0] + extent[0] == 1 << 31
    assert start[1] + extent[1] == 1 << 31
