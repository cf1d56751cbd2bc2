"""The demo's data: what it is, and what is said when it is not there."""

from __future__ import annotations

import importlib.util
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from arraymill.cli._errors import InputError, MissingExtraError
from arraymill.cli.demo import _data
from arraymill.cli.demo._data import load_earth


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data, "find_spec", {"global_land_mask": None}.get)
    with pytest.raises(MissingExtraError, match=r"pip install 'arraymill\[demo\]'"):
        load_earth()


@pytest.mark.parametrize("defect", ["absent", "no zip", "no mask", "other shape"])
def test_a_damaged_package_is_one_line(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "globe_combined_mask_compressed.npz"
    if defect == "no zip":
        file.write_bytes(b"nothing")
    elif defect == "no mask":
        with zipfile.ZipFile(file, "w"):
            pass
    elif defect == "other shape":
        np.savez_compressed(file, mask=np.zeros((2, 3), bool))
    spec = ModuleSpec("global_land_mask", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(_data, "find_spec", {"global_land_mask": spec}.get)
    with pytest.raises(InputError, match="not the land mask that it was"):
        load_earth()


def test_the_earth_is_the_earth() -> None:
    if importlib.util.find_spec("global_land_mask") is None:
        pytest.skip("the extra demo is not installed")
    earth = load_earth(every=4)
    assert earth.land.shape == (5400, 10800)
    assert earth.latitudes[[0, 2700]].tolist() == [90.0, 0.0]
    assert "public domain" in earth.source
    assert 0.32 < earth.land.mean() < 0.34
    assert not earth.land[0, 0], "the north pole is sea"
    assert earth.land[-1, 0], "the south pole is land"
    assert earth.land[(90 - 23) * 30, (180 + 10) * 30], "the Sahara is land"
    assert not earth.land[90 * 30, (180 - 150) * 30], "the Pacific is sea"
