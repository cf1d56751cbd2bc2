"""Quantities as people write them."""

from __future__ import annotations

import pytest

from arraymill._text.errors import InputError
from arraymill._text.quantities import nearest, read_bytes, read_seconds, split_quantity


@pytest.mark.parametrize(
    ("text", "nbytes"), [("1MiB", 1 << 20), ("1.5 kB", 1500), ("7", 7), ("0.5GiB", 1 << 29), (" 8B ", 8)]
)
def test_bytes(text: str, nbytes: int) -> None:
    assert read_bytes(text) == nbytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("2", 2.0), ("1.5min", 90.0), ("2h", 7200.0), ("3µs", 3e-6), ("1e-3s", 1e-3)]
)
def test_seconds(text: str, seconds: float) -> None:
    assert read_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "MiB", "1 2", "-1", "nan", "1e999", "1MiBs", "0x10"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(InputError):
        read_bytes(text)


def test_a_quantity_is_a_number_and_a_unit() -> None:
    assert split_quantity("5%") == (5.0, "%")
    assert split_quantity("100/s") == (100.0, "/s")
    assert split_quantity("fast") is None


def test_the_nearest_name_or_all() -> None:
    assert nearest("raet", ("rate", "count")) == "did you mean rate?"
    assert nearest("xyz", ("rate", "count")) == "there are rate, count"
