"""Results in .npy files, filled through memory: no result has to fit the memory, and no half file is ever seen.

Texts, which are small, are written at once, and no half one is seen either.
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.lib import format as npy

from arraymill._layout import AnyArray
from arraymill.cli._errors import check_output, file_error
from arraymill.cli._pages import drop_pages
from arraymill_proto.graph import ArrayType

_CANNOT_RESERVE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class OutputFile:
    """An .npy file that comes into being.

    A context manager: entering makes a file of the full size under a temporary name beside the wanted one, leaving
    gives it its name, or removes it when the block was left by an exception. The space is reserved before anything is
    computed: a disk that is too small is an error at once, and never a signal in the middle.
    """

    def __init__(self, path: Path, type: ArrayType, *, fortran: bool = False) -> None:
        """Prepare; nothing is made yet.

        Args:
            path: The wanted file; an existing one is replaced at the end.
            type: Shape and dtype of the array.
            fortran: Whether the elements lie in Fortran order.
        """
        self.path = Path(os.path.realpath(path))
        self._type = type
        self._fortran = fortran
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        self._pages: mmap.mmap | None = None

    def __enter__(self) -> AnyArray:
        """Make the file and return the array to fill.

        Raises:
            InputError: It cannot be written.
        """
        check_output(self.path)
        try:
            return self._make()
        except OSError as exc:
            self._remove()
            raise file_error(self.path, exc) from exc
        except BaseException:
            self._remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pages = None
        if kind is not None:
            self._remove()
            return
        try:
            self._temporary.replace(self.path)
        except OSError as exc:
            self._remove()
            raise file_error(self.path, exc) from exc

    def release(self) -> None:
        """Take the pages that were written so far out of this process."""
        if self._pages is not None:
            drop_pages(self._pages)

    def _make(self) -> AnyArray:
        header = _header(self._type, self._fortran)
        with os.fdopen(os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "r+b") as file:
            file.write(header)
            file.flush()
            _reserve(file.fileno(), len(header) + self._type.nbytes)
            if self._type.nbytes:
                self._pages = mmap.mmap(file.fileno(), 0)
        offset = len(header) if self._pages else 0
        array: AnyArray = np.ndarray(
            self._type.shape, self._type.dtype, self._pages, offset, order="F" if self._fortran else "C"
        )
        return array

    def _remove(self) -> None:
        self._temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, or replace one.

    Raises:
        InputError: It cannot be written; what was there before is still there.
    """
    check_output(path)
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
        temporary.replace(place)
    except OSError as exc:
        temporary.unlink(missing_ok=True)
        raise file_error(path, exc) from exc


def _header(type: ArrayType, fortran: bool) -> bytes:
    header = BytesIO()
    npy.write_array_header_1_0(
        header, {"descr": npy.dtype_to_descr(type.dtype), "fortran_order": fortran, "shape": type.shape}
    )
    return header.getvalue()


def _reserve(file: int, size: int) -> None:
    """Give a file its size, and its space on the disk where the system can."""
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # not on this system
        os.truncate(file, size)
    except OSError as exc:
        if exc.errno not in _CANNOT_RESERVE:
            raise
        os.truncate(file, size)
