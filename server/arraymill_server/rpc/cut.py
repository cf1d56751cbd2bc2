"""The end of a connection whose client does not read.

gRPC's Python cannot end a call of which messages are on their way, neither by raising in its handler nor by cancelling
its task: what was written stays in memory until the client reads it, or until its connection ends.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from stat import S_ISSOCK
from typing import TypeAlias
from urllib.parse import unquote

Address: TypeAlias = tuple[IPv4Address | IPv6Address, int]


def cut(peer: str) -> bool:
    """End the connection of a client, and with it all its calls.

    Args:
        peer: As gRPC names it.

    Returns:
        False if there is no such connection, or it cannot be told from others: that of a Unix socket.
    """
    address = _parsed(peer)
    if address is None:
        return False
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of the list itself, and what is closed meanwhile
            if S_ISSOCK(os.fstat(int(path.name)).st_mode):
                with socket.socket(fileno=os.dup(int(path.name))) as connection:
                    if _peer_of(connection) == address:
                        connection.shutdown(socket.SHUT_RDWR)
                        return True
    return False


def _parsed(peer: str) -> Address | None:
    """Return the address that gRPC names as ipv4:10.0.0.1:4711 or ipv6:%5B::1%5D:4711."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return None
    host, _, port = unquote(rest).rpartition(":")
    return ip_address(host.strip("[]").partition("%")[0]), int(port)


def _peer_of(connection: socket.socket) -> Address | None:
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = connection.getpeername()[:2]
    ip = ip_address(host.partition("%")[0])
    return getattr(ip, "ipv4_mapped", None) or ip, port
