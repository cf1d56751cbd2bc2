"""Mappings of one file are the same bytes, which NumPy does not know."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arraymill import _mapped
from arraymill._mapped import may_be_same_file

X = np.arange(1000.0)


@pytest.fixture
def mapped(tmp_path: Path) -> Callable[[str], NDArray[Any]]:
    """Maps a file of some name anew."""

    def open(name: str) -> NDArray[Any]:
        path = tmp_path / name
        if not path.exists():
            np.save(path, X)
        array: NDArray[Any] = np.load(path, mmap_mode="r+")
        return array

    return open


def test_two_mappings_of_a_file(mapped: Callable[[str], NDArray[Any]]) -> None:
    one, same, other = mapped("a.npy"), mapped("a.npy"), mapped("b.npy")
    assert not np.may_share_memory(one, same), "else nobody needed this"
    assert may_be_same_file([X, one], [None, same])
    assert may_be_same_file([one[::-2]], [other, same[5:]])
    assert not may_be_same_file([one], [other])
    assert not may_be_same_file([one], [X, None])
    assert not may_be_same_file([X], [one])


def test_two_mappings_of_shared_memory() -> None:
    file = os.memfd_create("arraymill")
    os.truncate(file, X.nbytes)
    one, same = mmap.mmap(file, X.nbytes), mmap.mmap(file, X.nbytes)
    os.close(file)
    x: NDArray[Any] = np.ndarray(X.shape, X.dtype, memoryview(one))
    y: NDArray[Any] = np.ndarray(X.shape, X.dtype, same)
    assert may_be_same_file([x], [y])
    assert not may_be_same_file([x], [np.ndarray(X.shape, X.dtype, mmap.mmap(-1, X.nbytes))])


def test_a_system_that_does_not_tell(
    mapped: Callable[[str], NDArray[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_mapped, "_MAPS", tmp_path / "nothing")
    assert may_be_same_file([mapped("a.npy")], [mapped("b.npy")])
    assert not may_be_same_file([mapped("a.npy")], [X])
