"""`arraymill serve`: the server is a program of its own, which takes this process over."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final, NoReturn

from arraymill.cli._errors import MissingExtraError

PACKAGES: Final = (
    "multiprocess",
    "msgspec",
    "click",
    "structlog",
    *(("uvloop",) if sys.platform == "linux" else ()),
    "grpc_status",
    "grpc_health",
    "grpc_reflection",
)
"""The import names of what the extra `server` brings."""


def serve(arguments: Sequence[str]) -> NoReturn:
    """Become the server; its options are its own business.

    Raises:
        MissingExtraError: A package that it needs is not installed.
    """
    require_server("the server")
    # -P: a module in the current directory must not hide one of the server's.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "arraymill_server", *arguments])


def require_server(purpose: str) -> None:
    """Check that a server could be started.

    Args:
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: A package is not installed.
    """
    missing = next((name for name in PACKAGES if find_spec(name) is None), None)
    if missing is not None:
        raise MissingExtraError(purpose, missing, "server")
