"""Exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from arraymill_proto.errors import (
    ArrayExistsError,
    ArraymillError,
    ArrayNotFoundError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    CorruptedError,
    DeadlineError,
    DTypeError,
    IncompatibleServerError,
    InvalidJobError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    JobTakenError,
    ResultExpiredError,
    TooLargeError,
)


class ExitCode(IntEnum):
    """Why a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    CONNECTION = 4
    CAPACITY = 5
    DEADLINE = 6
    MISSING = 7
    CONDITION = 8
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the job failed; demo, load: a wrong answer; load: rate not held; health, doctor: a problem",
    ExitCode.USAGE: "an option or an argument is wrong",
    ExitCode.INPUT: "a file, an expression, an array, a job or a parameter is wrong, or the output cannot be written",
    ExitCode.CONNECTION: "no server answers (load: at the end too), the connection was lost, or versions do not match",
    ExitCode.CAPACITY: "the server is busy, or the job can never fit it",
    ExitCode.DEADLINE: "the timeout passed; the job is stopped, unless submitted with its input or a key",
    ExitCode.MISSING: "a package of an extra is not installed",
    ExitCode.CONDITION: "load: a condition of --fail-if holds",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); the job is cancelled, unless submitted with its input or a key",
    ExitCode.BROKEN_PIPE: "the reader of the output has gone",
    ExitCode.TERMINATED: "terminated (SIGTERM); the job is cancelled, unless submitted with its input or a key",
}
"""What the help says of each code."""

_BY_ERROR: Final[tuple[tuple[type[ArraymillError], ExitCode], ...]] = (
    (DeadlineError, ExitCode.DEADLINE),
    (ConnectionFailedError, ExitCode.CONNECTION),
    (CorruptedError, ExitCode.CONNECTION),
    (IncompatibleServerError, ExitCode.CONNECTION),
    (BusyError, ExitCode.CAPACITY),
    (TooLargeError, ExitCode.CAPACITY),
    (InvalidJobError, ExitCode.INPUT),
    (DTypeError, ExitCode.INPUT),
    (ComputationError, ExitCode.INPUT),
    (ArrayNotFoundError, ExitCode.INPUT),
    (ArrayExistsError, ExitCode.INPUT),
    (JobNotFoundError, ExitCode.INPUT),
    (ResultExpiredError, ExitCode.INPUT),
    (JobKeyError, ExitCode.INPUT),
    (JobEndedError, ExitCode.INPUT),
    (JobTakenError, ExitCode.INPUT),
)


def exit_code(error: ArraymillError) -> ExitCode:
    """Return the code that an error ends a command with."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
