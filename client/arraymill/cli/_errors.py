"""The two errors that the command line itself finds."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """A file or an expression is wrong: one line that says what, where and what to do."""


class MissingExtraError(Exception):
    """A package is not installed: one line that names the extra which brings it."""

    def __init__(self, purpose: str, package: str | None, extra: str) -> None:
        super().__init__(f"{purpose} needs the package {package}; install it: pip install 'arraymill[{extra}]'")


def file_error(path: Path, error: OSError) -> InputError:
    """Return what the system said about a file, as one line."""
    return InputError(f"{path}: {error.strerror or error}")
