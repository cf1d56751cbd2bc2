"""The group of all commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from io import UnsupportedOperation
from pathlib import Path
from typing import Final, TextIO

import click

from arraymill.cli._arrays import delete, get, list_arrays, put
from arraymill.cli._compute import REDUCTIONS, compute, transform
from arraymill.cli._doctor import doctor
from arraymill.cli._errors import InputError, MissingExtraError
from arraymill.cli._exit_codes import MEANINGS, ExitCode, exit_code
from arraymill.cli._jobs import cancel, jobs, watch
from arraymill.cli._load import load
from arraymill.cli._report import report
from arraymill.cli._server import health, info, serve
from arraymill.cli._session import TerminatedError
from arraymill.cli.demo._command import demo
from arraymill.cli.top._command import top
from arraymill_proto.errors import ArraymillError

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


_ENDS: Final[tuple[tuple[tuple[type[BaseException], ...], ExitCode, str], ...]] = (
    ((KeyboardInterrupt, click.Abort, asyncio.CancelledError), ExitCode.INTERRUPTED, "interrupted"),
    ((TerminatedError,), ExitCode.TERMINATED, "terminated"),
    ((MissingExtraError,), ExitCode.MISSING, ""),
    ((InputError,), ExitCode.INPUT, ""),
)
"""What ends a command, its exit code, and its words unless the error has its own."""


_OUTPUT_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What the system says of an output that takes no more."""


class _Sections(click.Group):
    """Lists the reductions, of which there are many, in one line of names."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their first lines."""
        reductions = {command.name for command in REDUCTIONS}
        rows = [
            (name, command.get_short_help_str(90)) for name, command in self.commands.items() if name not in reductions
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        with formatter.section("Reductions of an array in a file (arraymill sum --help)"):
            formatter.write_text(" ".join(sorted(filter(None, reductions))))


@click.group(
    cls=_Sections,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(version("arraymill"), message="arraymill %(version)s")
@click.pass_context
def command(ctx: click.Context) -> int:
    """Compute on large NumPy arrays on a server that has the cores."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitCode.USAGE)
    return ExitCode.OK


_ARRAYS: Final = (compute, transform, put, get, list_arrays, delete)
_JOBS: Final = (jobs, watch, cancel)

for _entry in (serve, demo, *_ARRAYS, *_JOBS, info, top, health, doctor, load, report, *REDUCTIONS):
    command.add_command(_entry)


def run(arguments: Sequence[str]) -> int:
    """Run a command; whatever happens, at most one line goes to stderr.

    Returns:
        One of `ExitCode`.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  # the file descriptor is closed
        sys.stdout = Path(os.devnull).open()  # noqa: SIM115  # refuses what is written, as long as the process lives
    try:
        ended = command.main(list(arguments), prog_name="arraymill", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # click turns the former into the latter, and into nothing else
        _drop_output()
        return ExitCode.BROKEN_PIPE
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as exc:
        if "--traceback" in arguments:
            traceback.print_exc()
        if _is_of_output(exc):
            _drop_output()
        _settle_output()
        code, line = explain(exc)
        with suppress(OSError):  # its terminal is gone
            _say(f"arraymill: {line}")
        return code
    return ended if isinstance(ended, int) else ExitCode.OK


def explain(error: BaseException) -> tuple[ExitCode, str]:
    """Return the exit code and the line of what ended a command."""
    for kinds, code, words in _ENDS:
        if isinstance(error, kinds):
            return code, words or _line(str(error))
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "arraymill"
        return ExitCode.USAGE, f"{_line(error.format_message())} (try: {path} --help)"
    if isinstance(error, ArraymillError):
        return exit_code(error), _line(str(error))
    if _is_of_output(error):
        return (
            ExitCode.INPUT,
            f"the output cannot be written: {_line(getattr(error, 'strerror', None) or 'it is closed')}",
        )
    return ExitCode.FAILED, f"unexpected {type(error).__name__}: {_line(str(error))} (--traceback shows where)"


def _is_of_output(error: BaseException) -> bool:
    """Tell whether an error is that of writing to stdout: errors of files have names, or are `InputError`."""
    if isinstance(error, ArraymillError) or not isinstance(error, OSError) or error.filename is not None:
        return False
    return isinstance(error, UnsupportedOperation) or error.errno in _OUTPUT_ERRORS


def _drop_output(stream: TextIO | None = None) -> None:
    """Let Python not fail again when it flushes at exit.

    Args:
        stream: stdout unless given.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


def _settle_output() -> None:
    """Write what is left, or drop it: at exit Python would end with a code of its own where it cannot be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()


def _say(line: str) -> None:
    """Print a line on stderr, if that can be written."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _drop_output(sys.stderr)


def _line(text: str) -> str:
    return " ".join(text.split())
