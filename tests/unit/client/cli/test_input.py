"""Files of arrays: mapped where they can be, read where they must be, refused in one line otherwise."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from strategies import dtypes, shapes

from arraymill.cli._errors import InputError
from arraymill.cli._input import open_array

X: NDArray[np.float32] = np.arange(24, dtype=np.float32).reshape(4, 6)


@given(hnp.arrays(dtypes(), shapes()))
def test_whatever_numpy_saves_is_mapped(tmp_path_factory: pytest.TempPathFactory, x: NDArray[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "x.npy"
    np.save(path, x)
    file = open_array(str(path))
    assert (file.array.shape, file.array.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(file.array, x)
    assert (file.pages is None) == (x.nbytes == 0)
    file.release()
    np.testing.assert_array_equal(file.array, x)


def test_a_mapped_array_cannot_be_written(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    array = open_array(str(tmp_path / "x.npy")).array
    assert not array.flags.writeable
    assert array.flags.c_contiguous


def test_fortran_order_is_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    array = open_array(str(tmp_path / "x.npy")).array
    assert array.flags.f_contiguous
    np.testing.assert_array_equal(array, X)


def test_stored_members_are_mapped_and_compressed_ones_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "stored.npz", long_name_of_an_array=X, y=X + 1)
    np.savez_compressed(tmp_path / "packed.npz", x=X, y=X + 1)
    stored = open_array(f"{tmp_path}/stored.npz:y")
    assert stored.pages is not None
    np.testing.assert_array_equal(stored.array, X + 1)
    packed = open_array(str(tmp_path / "packed.npz"), "y")
    assert packed.pages is None
    np.testing.assert_array_equal(packed.array, X + 1)


def test_one_member_needs_no_name_and_colons_in_file_names_are_no_members(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", only=X)
    np.testing.assert_array_equal(open_array(str(tmp_path / "one.npz")).array, X)
    np.save(tmp_path / "a:b.npy", X)
    np.testing.assert_array_equal(open_array(str(tmp_path / "a:b.npy")).array, X)


def truncated(path: Path) -> str:
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-1])
    return "has 96 bytes, the file 95"


def negative(path: Path) -> str:
    np.save(path, X)
    path.write_bytes(path.read_bytes().replace(b"(4, 6)", b"(-4,6)"))
    return "an array of shape (-4, 6)"


def pickled_npy(path: Path) -> str:
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)
    return "holds Python objects as a pickle, which is never loaded"


def pickled_npz(path: Path) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.save(member, np.array([{}], dtype=object), allow_pickle=True)
    return "holds Python objects as a pickle, which is never loaded"


def plain_pickle(path: Path) -> str:
    path.write_bytes(pickle.dumps(X))
    return "neither an .npy nor an .npz file"


def text(path: Path) -> str:
    np.save(path, np.array(["a", "bc"]))
    return "dtype <U2 is not supported"


def dates(path: Path) -> str:
    np.save(path, np.zeros(2, "datetime64[s]"))
    return "datetime64"


def structured(path: Path) -> str:
    np.save(path, np.zeros(2, [("a", "f4"), ("b", "i2")]))
    return "is not supported"


def structured_with_unicode(path: Path) -> str:
    with pytest.warns(UserWarning, match="format 3.0"):
        np.save(path, np.zeros(2, [("ä", "f4"), ("☃", "i2")]))
    return "format version 3.0 is for structured arrays"


def header_garbage(path: Path) -> str:
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 40) + b"{'descr': __import__('os').system('x')}\n")
    return "cannot be read"


def cut_header(path: Path) -> str:
    path.write_bytes(b"\x93NUMPY\x01\x00\x76")
    return "cannot be read"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "neither an .npy nor an .npz file"


def cut_zip(path: Path) -> str:
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    return "cannot be read: File is not a zip file"


def damaged_member(path: Path) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.save(member, np.arange(10_000))
    content = bytearray(path.read_bytes())
    content[400:800] = bytes(400)
    path.write_bytes(content)
    return "cannot be read"


def member_that_is_no_array(path: Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    return "cannot be read"


def no_member(path: Path) -> str:
    with zipfile.ZipFile(path, "w"):
        pass
    return "has 0 arrays"


def folder(path: Path) -> str:
    path.mkdir()
    return "Is a directory"


def absent(path: Path) -> str:
    return "No such file or directory"


DEFECTS: list[Callable[[Path], str]] = [
    truncated,
    negative,
    pickled_npy,
    pickled_npz,
    plain_pickle,
    text,
    dates,
    structured,
    structured_with_unicode,
    header_garbage,
    cut_header,
    empty,
    cut_zip,
    damaged_member,
    member_that_is_no_array,
    no_member,
    folder,
    absent,
]
"""Each makes a file and returns what is said of it."""


@pytest.mark.parametrize("make", DEFECTS)
def test_what_is_no_array_is_refused_in_one_line(make: Callable[[Path], str], tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    words = make(path)
    with pytest.raises(InputError) as caught:
        open_array(str(path))
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("two.npz", None, "they are: x, y"),
        ("two.npz:z", None, "no array 'z'; its arrays are: x, y"),
        ("two.npz:x", "y", "both 'x' and --key 'y'"),
        ("x.npy", "y", "no member 'y'"),
        ("/dev/zero", None, "no regular file"),
    ],
)
def test_members_that_are_not_there(
    name: str, key: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "two.npz", x=X, y=X)
    np.save(tmp_path / "x.npy", X)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        open_array(name, key)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ":member"])
def test_a_name_that_is_too_long_for_a_file(name: str) -> None:
    with pytest.raises(InputError, match="File name too long"):
        open_array(name)
