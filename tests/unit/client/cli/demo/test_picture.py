"""Pictures of land and sea."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from arraymill.cli._errors import InputError
from arraymill.cli.demo._picture import half_blocks, paint, shade, write_png

SHARES = np.linspace(0, 1, 6 * 8).reshape(6, 8)


def test_more_land_is_darker() -> None:
    lines = shade(SHARES**2)
    assert len(lines) == 3
    assert lines[0][0] == " "
    assert lines[-1][-1] == "%"
    assert shade(np.ones((2, 3))) == ["@@@"]


def test_the_sea_is_blue_and_land_at_the_poles_is_white() -> None:
    colours = paint(np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    assert colours.dtype == np.uint8
    assert colours[0, 0].argmax() == 2
    assert colours[0, 1].min() > 200
    assert colours[1, 1].argmax() == 1


def test_a_character_shows_two_points() -> None:
    text = half_blocks(SHARES)
    assert text.plain == ("▀" * 8 + "\n") * 3


def test_a_png_holds_every_point(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", SHARES)
    data = (tmp_path / "x.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        at += 12 + length
    assert chunks[b"IHDR"] == struct.pack(">IIBBBBB", 8, 6, 8, 2, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(6, 1 + 8 * 3)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(lines[:, 1:].reshape(6, 8, 3), paint(SHARES))


def test_a_png_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        write_png(tmp_path, SHARES)
