"""Where the server is."""

from __future__ import annotations

import os
from typing import Final

from arraymill._limits import checked_text
from arraymill_proto.errors import ParameterError

VARIABLE: Final = "ARRAYMILL_SERVER"
"""The environment variable that names the server where the program does not."""

DEFAULT_PORT: Final = 50051
DEFAULT: Final = f"localhost:{DEFAULT_PORT}"


def resolve(address: str | None) -> str:
    """Return the address of the server in the form that gRPC takes.

    Args:
        address: `host:port`, `host`, `[ipv6]:port` or `unix:/path`; None for $ARRAYMILL_SERVER, else localhost:50051.

    Raises:
        ParameterError: The address is no text of one of these forms.
    """
    given = checked_text("address", address) if address is not None else os.environ.get(VARIABLE) or DEFAULT
    if given.startswith("unix:"):
        if not given.removeprefix("unix:").strip("/"):
            raise _malformed(given, "names no socket")
        return given
    if "/" in given:
        raise _malformed(given, "is a URL or a path")
    host, colon, port = given.rpartition(":")
    if not colon or given.endswith("]"):
        host, port = given, str(DEFAULT_PORT)
    if not host or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise _malformed(given, "names no host" if not host else "is an IPv6 address without [brackets]")
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 1 << 16:
        raise _malformed(given, f"has port {port!r}")
    return f"{host}:{port}"


def is_same_host(address: str) -> bool:
    """Tell whether an address can only mean this machine."""
    return address.startswith(("unix:", "localhost:", "127.", "[::1]:"))


def _malformed(address: str, defect: str) -> ParameterError:
    return ParameterError(f"the address {address!r} {defect}: give host:port or unix:/path", address=address)
