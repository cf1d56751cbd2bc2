"""Pictures of the land: coloured half blocks on a terminal, characters elsewhere, and a PNG file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

from arraymill.cli._errors import file_error
from arraymill.cli.demo._tour import Shares

SHADES: Final = " .:-=+*#%@"

_SEA: Final = np.array([18, 52, 110])
_LAND: Final = np.array([70, 122, 58])
_DRY: Final = np.array([196, 168, 104])
_ICE: Final = np.array([236, 242, 248])
_CLIMATE: Final = ((0, _LAND), (24, _DRY), (40, _LAND), (58, _LAND), (72, _ICE), (90, _ICE))
"""Degrees of latitude and the colour of land there."""


def shade(shares: Shares) -> list[str]:
    """Return lines of characters, darker where there is more land; one for two rows of points."""
    lines = shares[: len(shares) // 2 * 2].reshape(-1, 2, shares.shape[1]).mean(axis=1)
    steps = (lines * (len(SHADES) - 1)).round().astype(int)
    return ["".join(SHADES[step] for step in line).rstrip() for line in steps]


def paint(shares: Shares) -> NDArray[np.uint8]:
    """Return red, green and blue of each point."""
    north = np.abs(np.linspace(90, -90, len(shares)))
    degrees = [degree for degree, _ in _CLIMATE]
    land = np.stack([np.interp(north, degrees, [colour[part] for _, colour in _CLIMATE]) for part in range(3)], axis=-1)
    part = shares[:, :, np.newaxis]
    colours: NDArray[np.uint8] = (part * land[:, np.newaxis, :] + (1 - part) * _SEA).round().astype(np.uint8)
    return colours


def half_blocks(shares: Shares) -> Text:
    """Return coloured text in which every character shows two points, one above the other."""
    colours = paint(shares).tolist()
    text = Text(no_wrap=True)
    for upper, lower in zip(colours[::2], colours[1::2], strict=False):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text


def write_png(path: Path, shares: Shares) -> None:
    """Write a picture with one pixel for each point.

    Raises:
        InputError: It cannot be written.
    """
    pixels = paint(shares)
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    try:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts))
    except OSError as exc:
        raise file_error(path, exc) from exc


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
