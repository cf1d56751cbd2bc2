"""The server's command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server's command, or say in one line what is missing for it."""
    try:
        from arraymill_server.cli.command import main as run  # noqa: PLC0415  (the packages of an extra)
    except ModuleNotFoundError as exc:
        sys.exit(f"arraymill: the server needs the package {exc.name}; install it: pip install 'arraymill[server]'")
    run(arguments)
