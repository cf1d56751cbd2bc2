"""Numbers with units, read and written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.quantities import GIB, KIB, MIB, TIB, format_bytes, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("256MiB", 256 * MIB),
        ("256 mib", 256 * MIB),
        ("256M", 256 * MIB),
        ("1.5GiB", 3 * GIB // 2),
        ("2TiB", 2 * TIB),
        ("1MB", 10**6),
        ("7B", 7),
        (" 4KiB ", 4 * KIB),
        ("-1", -1),
    ],
)
def test_bytes_from_text(text: str | int, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "1 XiB", "1,5GiB", "1e9", "0x10", "inf", "1MiBB", True, float("nan")])
def test_what_is_no_number_of_bytes(text: Any) -> None:
    with pytest.raises(ValueError, match="is not a number of bytes; write for example 256MiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), ("1.5min", 90), ("2m", 120), ("12h", 43200), ("250ms", 0.25)],
)
def test_seconds_from_text(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == seconds


def test_what_is_no_duration() -> None:
    with pytest.raises(ValueError, match="'soon' is not a duration"):
        parse_seconds("soon")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1000, "1000 B"),
        (64 * KIB, "64 KiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (512 * MIB, "512 MiB"),
        (1023 * MIB, "1023 MiB"),
        (TIB, "1 TiB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(0, 64 * TIB))
def test_formatted_bytes_read_back_within_their_digits(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.006)
