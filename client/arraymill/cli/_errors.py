"""The errors that the command line itself finds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from arraymill._text.errors import InputError

__all__ = ["InputError", "MissingExtraError", "check_output", "file_error"]


class MissingExtraError(Exception):
    """A package is not installed: one line that names the extra which brings it."""

    def __init__(self, purpose: str, package: str | None, extra: str) -> None:
        super().__init__(f"{purpose} needs the package {package}; install it: pip install 'arraymill[{extra}]'")


def file_error(path: Path, error: OSError) -> InputError:
    """Return what the system said about a file, as one line."""
    return InputError(f"{path}: {error.strerror or error}")


def check_output(path: Path) -> None:
    """Check that a file may be written, or replaced.

    Raises:
        InputError: It is no regular file, or there is no such directory, or nothing may be written there.
    """
    directory = Path(os.path.realpath(path)).parent
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no regular file")
        if not directory.is_dir():
            code = errno.ENOTDIR if directory.exists() else errno.ENOENT
            raise InputError(f"{path}: {os.strerror(code)}")
    except OSError as exc:
        raise file_error(path, exc) from exc
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(f"{path}: nothing may be written in {directory}")
