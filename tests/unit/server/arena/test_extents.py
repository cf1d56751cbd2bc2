"""The allocator against a model that is a list of pages."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arraymill_server.arena.extents import ALIGNMENT, Extent, ExtentError, Extents

PAGES = 24


class ExtentsMachine(RuleBasedStateMachine):
    """Pages of 16 bytes; the model knows of each page whether it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.extents = Extents(PAGES * 16, alignment=16)
        self.taken: list[Extent] = []
        self.pages = [False] * PAGES

    def places(self, pages: int, first: int) -> list[int]:
        return [start for start in range(first, PAGES - pages + 1) if not any(self.pages[start : start + pages])]

    def mark(self, extent: Extent, value: bool) -> None:
        for page in range(extent.offset // 16, extent.end // 16):
            assert self.pages[page] is not value, f"{extent} overlaps"
            self.pages[page] = value

    @rule(size=st.integers(0, PAGES * 16), top=st.booleans(), floor=st.integers(0, PAGES * 8))
    def take(self, size: int, top: bool, floor: int) -> None:
        pages = max(-(-size // 16), 1)
        places = self.places(pages, -(-floor // 16))
        extent = self.extents.take(size, top=top, floor=floor)
        if not places:
            assert extent is None
            return
        assert extent is not None
        assert extent == Extent((max(places) if top else min(places)) * 16, pages * 16)
        self.mark(extent, True)
        self.taken.append(extent)

    @precondition(lambda self: bool(self.taken))
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        extent = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.extents.give(extent)
        self.mark(extent, False)

    @rule(page=st.integers(0, PAGES - 1), pages=st.integers(1, 3))
    def claim(self, page: int, pages: int) -> None:
        extent = Extent(page * 16, pages * 16)
        if page in self.places(pages, 0):
            self.extents.claim(extent)
            self.mark(extent, True)
            self.taken.append(extent)
        else:
            with pytest.raises(ExtentError, match="is not free"):
                self.extents.claim(extent)

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.extents.check()
        assert self.extents.free == self.pages.count(False) * 16
        runs = "".join("x" if page else "." for page in self.pages).split("x")
        assert self.extents.largest_free == max(map(len, runs)) * 16

    def teardown(self) -> None:
        for extent in self.taken:
            self.extents.give(extent)
        self.extents.check()
        assert self.extents.largest_free == self.extents.size


TestExtents = ExtentsMachine.TestCase
TestExtents.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_low_and_high_ends() -> None:
    extents = Extents(16 * ALIGNMENT)
    assert extents.take(1) == (0, ALIGNMENT)
    assert extents.take(ALIGNMENT + 1, top=True) == (14 * ALIGNMENT, 2 * ALIGNMENT)
    assert repr(extents) == "<Extents 65,536 bytes: 53,248 free in 1 pieces, 2 taken>"


def test_neighbours_are_joined() -> None:
    extents = Extents(4 * ALIGNMENT)
    parts = [extents.take(ALIGNMENT) for _ in range(4)]
    assert extents.largest_free == 0
    assert extents.take(1) is None
    for index in (0, 2, 1, 3):
        part = parts[index]
        assert part is not None
        extents.give(part)
    assert extents.take(4 * ALIGNMENT) == (0, 4 * ALIGNMENT)


def test_giving_back_what_is_not_taken_is_a_bug() -> None:
    extents = Extents(4 * ALIGNMENT)
    extent = extents.take(ALIGNMENT)
    assert extent is not None
    for wrong in (Extent(0, 2 * ALIGNMENT), Extent(ALIGNMENT, ALIGNMENT)):
        with pytest.raises(ExtentError, match="is not taken"):
            extents.give(wrong)
    extents.give(extent)
    with pytest.raises(ExtentError, match="is not taken"):
        extents.give(extent)


def test_parts_are_given_back_one_by_one() -> None:
    extents = Extents(8 * ALIGNMENT)
    extent = extents.take(4 * ALIGNMENT, top=True)
    assert extent is not None
    for wrong in ((ALIGNMENT,), (2 * ALIGNMENT, 3 * ALIGNMENT)):
        with pytest.raises(ExtentError, match=r"or has no . parts of"):
            extents.split(extent, wrong)
    parts = extents.split(extent, (ALIGNMENT, 2 * ALIGNMENT, ALIGNMENT))
    assert parts == [(4 * ALIGNMENT, ALIGNMENT), (5 * ALIGNMENT, 2 * ALIGNMENT), (7 * ALIGNMENT, ALIGNMENT)]
    extents.check()
    for part in (parts[1], parts[0], parts[2]):
        extents.give(part)
        extents.check()
    assert extents.free == 8 * ALIGNMENT


@pytest.mark.parametrize("size", [0, -ALIGNMENT, ALIGNMENT + 1])
def test_sizes_are_whole_pages(size: int) -> None:
    with pytest.raises(ValueError, match="positive multiple of 4,096"):
        Extents(size)
