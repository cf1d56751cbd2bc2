"""TCP ports that one server hands to the next, without a connection lost.

Theory of operation. A server binds its ports alone: a second one by mistake is an error. Only then it marks its sockets
as shareable (SO_REUSEPORT), so that a server which is told to take over may listen beside it. The kernel spreads new
connections over all that listen; therefore the new server steers them all to itself as soon as it serves, with a filter
that every socket of the port obeys. So nothing waits in the old server's queue any more when it stops listening, which
would reset it. The old server leaves its ports when it is told to stop, if it is not alone there: a third server's
filter counts sockets.

gRPC's listening sockets are its own: they close when it stops, together with all connections, and no option or method
reaches them before. Hence they are looked up among the descriptors of the process.

Rejected: closing the old sockets without a filter (it resets what they have not accepted; net.ipv4.tcp_migrate_req
would help, but belongs to the administrator); handing descriptors to the new process (gRPC's Python takes none).
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arraymill_server.log import get_logger

_ATTACH_FILTER: Final = 51
"""SO_ATTACH_REUSEPORT_CBPF of Linux; Python's socket module does not know it."""

_RETURN: Final = 0x06
"""BPF_RET | BPF_K: the filter's only instruction returns a constant, the number of the socket that gets a connection.
A number that no socket has means any."""

_LISTENS: Final = "0A"
"""TCP_LISTEN, as the kernel's tables write it."""

_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket of this process that listens."""

    descriptor: int
    inode: int
    """What the kernel's tables call it."""


def listeners(ports: Collection[int]) -> list[Listener]:
    """Return the sockets of this process that listen on some ports, whoever made them."""
    found: list[Listener] = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile, or no socket
            status = os.fstat(descriptor := int(entry.name))
            if stat.S_ISSOCK(status.st_mode) and _listens(descriptor, ports):
                found.append(Listener(descriptor, status.st_ino))
    return found


def share(mine: Collection[Listener]) -> None:
    """Let a server of the same user that takes over listen on the same ports."""
    for listener in mine:
        with _borrowed(listener.descriptor) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def steer(mine: Collection[Listener]) -> int:
    """Get all new connections of the ports from now on, even if others listen there.

    Returns:
        How many others do.
    """
    others = _others(mine)
    for listener, count in others.items():
        if count:
            # The kernel numbers sockets in the order in which they came.
            code = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, count))
            program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
            with _borrowed(listener.descriptor) as sock:
                try:
                    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
                except OSError as exc:
                    _log.warning("new connections go to all servers of the port, not to this one alone", error=str(exc))
    return sum(others.values())


def leave(mine: Collection[Listener]) -> int:
    """Stop listening where others do; connections that stand go on.

    An unconnected socket takes the descriptor's place, for its owner to close. Told by `shutdown` instead, gRPC would
    write an error on stderr.

    Returns:
        How many sockets listen no more.
    """
    left = 0
    for listener, count in _others(mine).items():
        if count:
            with socket.socket() as nothing:
                os.dup2(nothing.fileno(), listener.descriptor, inheritable=False)
            left += 1
    return left


def are_shared(mine: Collection[Listener]) -> bool:
    """Tell whether other processes listen at any of the same places."""
    return any(_others(mine).values())


@contextmanager
def _borrowed(descriptor: int) -> Generator[socket.socket]:
    """Use a socket that somebody else closes."""
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def _listens(descriptor: int, ports: Collection[int]) -> bool:
    with _borrowed(descriptor) as sock:
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        return (
            is_tcp and sock.getsockname()[1] in ports and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        )


def _others(mine: Collection[Listener]) -> dict[Listener, int]:
    """Return how many sockets of other processes listen at the address of each."""
    places: dict[int, str] = {}
    for table in _TABLES:
        with suppress(FileNotFoundError):  # a machine without IPv6
            for line in table.read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS:
                    places[int(columns[9])] = columns[1]
    ours = {listener.inode for listener in mine}
    foreign = [place for inode, place in places.items() if inode not in ours]
    return {listener: foreign.count(places.get(listener.inode, "")) for listener in mine}
