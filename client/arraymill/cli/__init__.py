"""The command line: `arraymill`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from arraymill.cli._errors import MissingExtraError
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._serve import serve


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with one of `ExitCode`; or say in one line which extra it needs."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["serve"]:
            serve(given[1:])
        _require_extra()
        from arraymill.cli._command import run  # noqa: PLC0415  # needs the packages of the extra
    except MissingExtraError as exc:
        print(f"arraymill: {exc}", file=sys.stderr)
        sys.exit(ExitCode.MISSING)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(run(given))


def _require_extra() -> None:
    for name in ("click", "rich"):
        if find_spec(name) is None:
            raise MissingExtraError("the command line", name, "cli")
