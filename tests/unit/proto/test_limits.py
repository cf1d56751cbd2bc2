"""Bounds fit each other."""

from __future__ import annotations

from arraymill_proto import limits


def test_a_frame_fits_a_message_with_room_to_spare() -> None:
    assert limits.FRAME_BYTES * 2 <= limits.MESSAGE_BYTES
    assert limits.UNARY_BYTES * 2 <= limits.MESSAGE_BYTES


def test_offsets_fit_signed_64_bits() -> None:
    assert limits.MAX_ELEMENTS <= limits.MAX_BYTES < 2**63


def test_shorten_keeps_short_texts_and_cuts_long_ones() -> None:
    assert limits.shorten("x" * limits.MAX_ECHO_CHARS) == "x" * limits.MAX_ECHO_CHARS
    cut = limits.shorten("x" * 10**6)
    assert len(cut) == limits.MAX_ECHO_CHARS
    assert cut.endswith("…")
