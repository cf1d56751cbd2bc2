"""The way to memory shared with a server: found by trying, and one session for all jobs of a client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from time import monotonic
from typing import Final

from arraymill._memory import MemorySession
from arraymill_proto.errors import ArraymillError
from arraymill_proto.v1 import arraymill_pb2 as pb

LEAST_BYTES: Final = 1 << 20
"""Least input or result for which shared memory pays: below, one message carries all."""

PAUSE_SECONDS: Final = 60.0
"""Time without another try after one has failed: the server may be on another machine, or of another user."""


class MemoryRoute:
    """The way to the memory of one server. For one event loop.

    Args:
        address: Of the server, in the form of `_address.resolve`.
        is_wanted: False: never use it.
    """

    def __init__(self, address: str, *, is_wanted: bool) -> None:
        self._folder = PurePosixPath(address.removeprefix("unix:")).parent if address.startswith("unix:") else None
        self._is_wanted = is_wanted and hasattr(socket, "AF_UNIX") and hasattr(socket, "recv_fds")
        self._is_closed = False
        self._paused_until = 0.0
        self._paths: tuple[str, ...] = ()
        self._session: MemorySession | None = None
        self._opening: asyncio.Lock | None = None

    @property
    def is_open(self) -> bool:
        """Whether memory is shared now."""
        return self._session is not None and self._session.is_open

    async def session(self, info: pb.ServerInfo) -> MemorySession | None:
        """Return a session with the server that has told of itself, None where none can be had.

        The first one opens it, which takes some 20 ms; the others wait for that.
        """
        if not self._is_wanted or not info.memory_paths:
            return None
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            paths = tuple(info.memory_paths)
            if self._is_closed:
                return None
            if self.is_open and paths == self._paths:
                return self._session
            if monotonic() < self._paused_until and paths == self._paths:
                return None
            self._end()
            self._paths = paths
            return self._opened(await _first(self._places(paths)))

    def _opened(self, session: MemorySession | None) -> MemorySession | None:
        self._session = session
        if self._is_closed:  # meanwhile
            self._end()
        elif session is None:
            self._paused_until = monotonic() + PAUSE_SECONDS
        return self._session

    def close(self) -> None:
        """End the session, for good. Safe to call twice."""
        self._is_closed = True
        self._end()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _places(self, paths: Iterable[str]) -> Iterator[str]:
        """Return where to try: beside the socket of the server as this process sees it, and as the server does."""
        for path in paths:
            if path.startswith("@"):
                yield "\0" + path[1:]
                continue
            if self._folder is not None:
                yield str(self._folder / PurePosixPath(path).name)
            yield path


async def _first(places: Iterator[str]) -> MemorySession | None:
    for place in dict.fromkeys(places):
        with suppress(OSError, EOFError, TimeoutError, ArraymillError):
            return await MemorySession.open(place)
    return None
