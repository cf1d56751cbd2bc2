"""How many connections are open: gRPC's Python does not tell of idle ones, so the descriptors of the process do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from stat import S_ISSOCK
from time import monotonic
from typing import Final

DESCRIPTORS: Final = Path("/proc/self/fd")

FRESH_SECONDS: Final = 1.0
"""How long a count is good for: to look through 1,000 descriptors takes some milliseconds."""


class Connections:
    """Counts the connections of clients, at most once in a second.

    Args:
        ports: Where clients connect.
        paths: The same for Unix sockets, as they were bound.
        descriptors: The folder in which the kernel lists what this process has open.
    """

    def __init__(self, ports: Collection[int], paths: Collection[str], *, descriptors: Path = DESCRIPTORS) -> None:
        self._ports = frozenset(ports)
        self._paths = frozenset(paths)
        self._descriptors = descriptors
        self._looking = asyncio.Lock()
        self._count = 0
        self._counted = float("-inf")

    def __repr__(self) -> str:
        return f"<Connections: {self._count} open>"

    async def count(self) -> int:
        """Return how many are open, or were a second ago.

        Where no descriptor is left to look by, it is what was known last.
        """
        async with self._looking:
            if monotonic() >= self._counted + FRESH_SECONDS:
                with suppress(OSError):
                    self._count = await asyncio.to_thread(self._look)
                self._counted = monotonic()
        return self._count

    def _look(self) -> int:
        return sum(self._is_connection(int(entry.name)) for entry in self._descriptors.iterdir())

    def _is_connection(self, descriptor: int) -> bool:
        with suppress(OSError):  # closed meanwhile, or it listens
            if not S_ISSOCK(os.fstat(descriptor).st_mode):
                return False
            sock = socket.socket(fileno=descriptor)
            try:
                return self._is_ours(sock) and sock.getpeername() is not None
            finally:
                sock.detach()
        return False

    def _is_ours(self, sock: socket.socket) -> bool:
        name = sock.getsockname()
        return name in self._paths if sock.family == socket.AF_UNIX else name[1] in self._ports
