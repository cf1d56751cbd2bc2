"""Results in files: complete under their name, or not there at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from strategies import dtypes, shapes

from arraymill.cli._errors import InputError
from arraymill.cli._options import OUTPUT
from arraymill.cli._output import OutputFile, write_text
from arraymill_proto.graph import ArrayType

FLOATS = ArrayType((3, 5), np.dtype(np.float64))


@given(hnp.arrays(dtypes(foreign=False), shapes()), st.booleans())
def test_numpy_loads_what_was_filled(tmp_path_factory: pytest.TempPathFactory, x: NDArray[Any], fortran: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "out.npy"
    output = OutputFile(path, ArrayType(x.shape, x.dtype), fortran=fortran)
    with output as out:
        out[...] = x
        output.release()
    loaded = np.load(path)
    assert (loaded.shape, loaded.dtype) == (x.shape, x.dtype)
    assert loaded.flags.f_contiguous if fortran else loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, x)


def test_the_name_appears_at_the_end_only(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "out.npy", FLOATS) as out:
        out[...] = 1
        assert not (tmp_path / "out.npy").exists()
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_size == 128 + FLOATS.nbytes
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    path.write_text("precious")
    with pytest.raises(error), OutputFile(path, FLOATS):
        raise error
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_and_a_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "target.npy"
    target.write_text("old")
    (tmp_path / "link.npy").symlink_to(target)
    with OutputFile(tmp_path / "link.npy", FLOATS) as out:
        out[...] = 2
    assert (tmp_path / "link.npy").is_symlink()
    assert np.load(target)[0, 0] == 2


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "out.npy", FLOATS) as out:
        out[...] = 0
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.npy").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("absent/out.npy", "No such file or directory"),
        ("file/out.npy", "Not a directory"),
        ("folder", "is no regular file|is a directory"),
        ("/dev/null", "is no regular file"),
        ("x" * 300, "File name too long"),
    ],
    ids=["absent", "in a file", "folder", "device", "long"],
)
def test_what_cannot_be_written_is_refused_before_anything_runs(path: str, text: str, tmp_path: Path) -> None:
    """By the option, before the server is asked, and by the file itself."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=text), OutputFile(tmp_path / path, FLOATS):
        pytest.fail("entered")
    with pytest.raises((InputError, click.BadParameter), match=text):
        OUTPUT.convert(str(tmp_path / path), None, None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_a_disk_that_is_too_small_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device"), OutputFile(tmp_path / "out.npy", FLOATS):
        pytest.fail("entered")
    assert list(tmp_path.iterdir()) == []


def test_a_system_that_cannot_reserve_space_writes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unable)
    with OutputFile(tmp_path / "out.npy", FLOATS) as out:
        out[...] = 3
    assert np.load(tmp_path / "out.npy")[2, 4] == 3


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.html"
    write_text(path, "first \ud800")
    assert path.read_text() == "first ?"

    def full(self: Path, target: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"out\.html: No space left on device"):
        write_text(path, "second")
    assert path.read_text() == "first ?"
    assert list(tmp_path.iterdir()) == [path]
