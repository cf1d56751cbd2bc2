"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.sizes import parse_size, size_text


@given(st.integers(1, 1 << 20), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_what_is_written_is_read(number: int, unit: str) -> None:
    nbytes = parse_size(f"{number}{unit}")
    assert parse_size(size_text(nbytes)) == nbytes


def test_a_size_is_written_in_the_largest_unit_that_fits() -> None:
    assert [size_text(each) for each in (8_000, 1 << 20, 1536 << 20, 4 << 30)] == [
        "8,000 bytes",
        "1 MiB",
        "1536 MiB",
        "4 GiB",
    ]


@pytest.mark.parametrize("text", ["", "0MiB", "1.5GiB", "256", "256MB", "-1MiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write 256MiB"):
        parse_size(text)
