"""Arrays in .npy and .npz files, mapped into memory instead of read: their size does not matter.

A member of an .npz file that is stored without compression lies in the file like an .npy file and is mapped too; a
compressed one is read. Headers are NumPy's own business; pickles are never loaded.
"""

from __future__ import annotations

import mmap
import os
import stat
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy

from arraymill._layout import AnyArray
from arraymill.cli._errors import InputError, file_error
from arraymill.cli._pages import drop_pages
from arraymill_proto.dtypes import native
from arraymill_proto.errors import DTypeError

_NPY: Final = npy.MAGIC_PREFIX
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER_BYTES: Final = 30
"""Of a zip member, before its name and its extra field, whose lengths are the last two 16-bit words."""

_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True, slots=True)
class InputFile:
    """An array in a file."""

    array: AnyArray
    pages: mmap.mmap | None = None
    """The mapping that `array` is a view of; None when it was read into memory."""

    def release(self) -> None:
        """Take the pages that were read so far out of this process; they stay in the system's cache."""
        if self.pages is not None:
            drop_pages(self.pages)


def open_array(name: str, key: str | None = None) -> InputFile:
    """Open an array.

    Args:
        name: `FILE.npy`, `FILE.npz` with one member, or `FILE.npz:MEMBER`.
        key: The member; instead of `:MEMBER`.

    Raises:
        InputError: There is no such file or member, or it holds no array that can be sent.
    """
    path, key = _split(name, key)
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(f"{path} is no regular file: it cannot be mapped into memory")
            magic = file.read(len(_NPY))
            file.seek(0)
            with _described(name):
                if magic.startswith(_ZIP):
                    return _open_member(file, key)
                if magic != _NPY:
                    raise InputError(f"{path} is neither an .npy nor an .npz file")
                if key is not None:
                    raise InputError(f"{path} is an .npy file: it has no member {key!r}")
                return _map(file, 0)
    except OSError as exc:
        raise file_error(path, exc) from exc


def _split(name: str, key: str | None) -> tuple[Path, str | None]:
    path = Path(name)
    head, colon, member = name.rpartition(":")
    if colon and not os.path.exists(path) and os.path.exists(head):  # noqa: PTH110  # Path.exists may raise
        if key is not None and key != member:
            raise InputError(f"{name}: both {member!r} and --key {key!r} are given")
        return Path(head), member
    return path, key


@contextmanager
def _described(name: str) -> Generator[None]:
    """Turn what a damaged or unsuitable file raises into one line with its name."""
    try:
        yield
    except DTypeError as exc:
        raise InputError(f"{name}: {exc}") from exc
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise InputError(f"{name} cannot be read: {reason}") from exc
    except MemoryError as exc:
        raise InputError(f"{name} is compressed and does not fit the memory: store it uncompressed (np.savez)") from exc


def _open_member(file: IO[bytes], key: str | None) -> InputFile:
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo(_member(archive, key))
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            file.seek(info.header_offset + _LOCAL_HEADER_BYTES - 4)
            lengths = np.frombuffer(file.read(4), "<u2")
            return _map(file, info.header_offset + _LOCAL_HEADER_BYTES + int(lengths.sum()))
        with archive.open(info) as member:
            _check_type(_read_header(member)[2])
        with archive.open(info) as member:
            return InputFile(npy.read_array(member, allow_pickle=False))


def _member(archive: zipfile.ZipFile, key: str | None) -> str:
    """Return the name of the wanted member in the archive."""
    members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    listed = ", ".join(members) or "none"
    if key is not None:
        if key not in members:
            raise InputError(f"{archive.filename} has no array {key!r}; its arrays are: {listed}")
        return members[key]
    if len(members) != 1:
        raise InputError(f"{archive.filename} has {len(members)} arrays, name one as FILE.npz:NAME; they are: {listed}")
    return next(iter(members.values()))


def _map(file: IO[bytes], start: int) -> InputFile:
    """Map the array whose .npy header begins at a byte of the file."""
    file.seek(start)
    shape, is_fortran, dtype = _read_header(file)
    _check_type(dtype)
    offset = file.tell()
    nbytes = prod(shape) * dtype.itemsize
    available = file.seek(0, 2) - offset
    if min(shape, default=0) < 0 or nbytes > available:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} has {nbytes} bytes, the file {available}")
    if nbytes == 0:
        return InputFile(np.empty(shape, dtype))
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_SEQUENTIAL"):
        pages.madvise(mmap.MADV_SEQUENTIAL)
    array: AnyArray = np.ndarray(shape, dtype, pages, offset, order="F" if is_fortran else "C")
    return InputFile(array, pages)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"format version {version[0]}.{version[1]} is for structured arrays, which are not supported")
    return _HEADERS[version](file)


def _check_type(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise DTypeError("it holds Python objects as a pickle, which is never loaded; convert it to numbers first")
    native(dtype)
