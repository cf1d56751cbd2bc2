"""The data of the demo: where the Earth is land and where it is sea, at one kilometre.

The package `global-land-mask` (MIT licence) carries it: 21,600 × 43,200 booleans, derived from the elevation model
GLOBE of NOAA, which is in the public domain. Its file is read directly, for importing the package would unpack it too.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from arraymill.cli._errors import InputError, MissingExtraError

ROWS: Final = 21_600
COLUMNS: Final = 43_200
_PACKAGE: Final = "global_land_mask"
_FILE: Final = "globe_combined_mask_compressed.npz"
_BAND_ROWS: Final = 240
"""Rows that are unpacked at once: 10 MB."""


@dataclass(frozen=True, slots=True)
class Earth:
    """The mask, its first row at 90° north and its first column at 180° west."""

    land: NDArray[np.bool_]
    """True where the land is."""
    latitudes: NDArray[np.float64]
    """Degrees north of each row."""
    source: str
    """What it is, whose, and under which licence."""


def load_earth(every: int = 1) -> Earth:
    """Unpack the mask.

    Args:
        every: Take every so-manieth row and column; it divides 60.

    Raises:
        MissingExtraError: The package is not installed.
        InputError: Its file is not what it was.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("the demo", _PACKAGE, "demo")
    path = Path(spec.submodule_search_locations[0], _FILE)
    try:
        land = _unpack(path, every)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise InputError(f"{path} is not the land mask that it was: {exc}") from exc
    latitudes: NDArray[np.float64] = 90.0 - np.arange(0, ROWS, every, dtype=np.float64) * (180.0 / ROWS)
    source = f"GLOBE elevation model, NOAA, public domain; global-land-mask {version('global-land-mask')}, MIT"
    return Earth(land, latitudes, source)


def _unpack(path: Path, every: int) -> NDArray[np.bool_]:
    """Read band by band: the whole mask never lies in memory beside its thinned copy."""
    land = np.empty((ROWS // every, COLUMNS // every), np.bool_)
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as file:
        npy.read_magic(file)
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        if shape != (ROWS, COLUMNS) or is_fortran or dtype != np.bool_:
            raise ValueError(f"it holds {dtype} of shape {shape}")
        for row in range(0, ROWS, _BAND_ROWS):
            band = np.frombuffer(file.read(_BAND_ROWS * COLUMNS), np.bool_).reshape(_BAND_ROWS, COLUMNS)
            # The file says where the sea is.
            land[row // every : (row + _BAND_ROWS) // every] = ~band[::every, ::every]
    return land
