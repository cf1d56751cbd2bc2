"""Exit codes of the server."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Why the server ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    NO_WORKERS = 4
    STUCK = 5
    ALARM = 142


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "it was asked to stop, and did; jobs that outlasted the drain time were ended",
    ExitCode.FAILED: "a defect; the log tells more",
    ExitCode.USAGE: "an option is unknown or malformed",
    ExitCode.CONFIG: "it cannot run like this: an address in use, too little shared memory, a value out of bounds",
    ExitCode.NO_WORKERS: "workers end before they are ready",
    ExitCode.STUCK: "its end hung for 4.5 s beyond the drain time; stderr tells where",
    ExitCode.ALARM: "so did the code that was to say so: the kernel ended it (SIGALRM) after 5 s",
}
"""What the help and the documentation say of each code."""
