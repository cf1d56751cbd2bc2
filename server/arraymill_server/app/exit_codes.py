"""Exit codes of the server."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Why the server ended."""

    OK = 0
    """It was asked to stop, and did."""
    FAILED = 1
    """A defect; the log tells more."""
    USAGE = 2
    """An option is unknown or malformed."""
    CONFIG = 3
    """It cannot run like this: an address in use, too little shared memory, a value out of bounds."""
    NO_WORKERS = 4
    """Workers end before they are ready."""
