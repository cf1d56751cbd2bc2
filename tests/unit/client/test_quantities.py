"""Quantities for people."""

from __future__ import annotations

import pytest

from arraymill._quantities import bytes_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1536, "1.5 KiB"), (123 << 20, "123 MiB"), (8 << 30, "8 GiB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert bytes_text(count) == text
