"""Where clients on the same machine come for shared memory: a Unix socket, and a look at who it is.

Whoever reaches the socket is on this machine, or in a container that shares the socket's folder. Only processes of the
server's own user, and of root, get memory: the kernel says who the peer is (SO_PEERCRED), not the peer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, Self

from arraymill_proto.errors import ArraymillError
from arraymill_proto.memory import HELLO
from arraymill_server.config import STAGING_BYTES, ConfigError
from arraymill_server.log import get_logger
from arraymill_server.rpc.bulk import fill
from arraymill_server.rpc.memory_session import Session
from arraymill_server.rpc.shared import Budget, SharedMemory, Staging

HELLO_SECONDS: Final = 5.0
"""Time in which a new connection must say its hello."""

MAX_SESSIONS: Final = 256
"""Clients that may share memory at a time."""

BACKLOG: Final = 128

RETRY_SECONDS: Final = 0.1
"""Pause when the process has no file descriptor left for a new connection."""

_CREDENTIALS: Final = struct.Struct("3i")

_log = get_logger(__name__)


class MemoryListener:
    """Listens on some Unix sockets. Make it in a running event loop.

    Args:
        sockets: Bound, listening and non-blocking; the listener closes them.
        paths: Where clients find them; one that begins with @ has no file.
        budget: What may be shared.
    """

    def __init__(self, sockets: Sequence[socket.socket], paths: Sequence[str], budget: Budget) -> None:
        self.paths: Final = tuple(paths)
        self.budget: Final = budget
        self._sockets = sockets
        self._sessions: dict[bytes, Session] = {}
        """By their secrets."""
        self._names = count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        for listening in sockets:
            self._run(self._accept(listening))

    def __repr__(self) -> str:
        return f"<MemoryListener at {', '.join(self.paths)}: {len(self._sessions)} sessions>"

    @classmethod
    def open(cls, drafts: Mapping[str, Path], budget: Budget) -> Self:
        """Listen.

        Args:
            drafts: Where sockets are bound, by the path at which clients will find them. A socket without a file, which
                all of this network namespace can reach, is made as well.
            budget: What may be shared.

        Raises:
            ConfigError: One cannot be made.
        """
        name = f"@arraymill-{secrets.token_hex(8)}"
        sockets: list[socket.socket] = []
        try:
            sockets.extend(map(_listen, ("\0" + name[1:], *map(str, drafts.values()))))
        except OSError as exc:
            for listening in sockets:
                listening.close()
            raise ConfigError(
                f"cannot listen for clients on this machine: {exc.strerror}; --shared-memory 0 does without"
            ) from exc
        return cls(sockets, [name, *drafts], budget)

    def session(self, secret: bytes) -> Session | None:
        """Return the session of a secret; None when there is none, or none any more."""
        return self._sessions.get(secret)

    async def close(self) -> None:
        """End all sessions and stop listening."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        async with self.budget.turn:  # what is being made for nobody is closed
            pass

    # ------------------------------------------------------------------ inside

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as exc:  # the caller has gone again, or there is no descriptor left
                _log.debug("no connection accepted", error=exc.strerror)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if len(self._tasks) > MAX_SESSIONS or not _is_ours(sock):
                sock.close()
                continue
            self._run(self._attend(sock))
            await asyncio.sleep(0)  # where callers are always waiting nothing else would ever run

    async def _attend(self, sock: socket.socket) -> None:
        """Serve a connection to its end."""
        with sock:
            hello = bytearray(len(HELLO))
            try:
                async with asyncio.timeout(HELLO_SECONDS):
                    await fill(sock, memoryview(hello))
            except (OSError, EOFError, TimeoutError):
                return
            if bytes(hello) == HELLO:
                await self._serve(sock)

    async def _serve(self, sock: socket.socket) -> None:
        memory = SharedMemory(self.budget, f"memory {next(self._names)}")
        try:
            with suppress(ArraymillError):  # no memory: the client goes on without
                session = Session(sock, memory, Staging(await memory.make(STAGING_BYTES)))
                self._sessions[session.secret] = session
                try:
                    await session.serve()
                finally:
                    del self._sessions[session.secret]
        finally:
            memory.close()


def _listen(place: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(place)
        if not place.startswith("\0"):
            Path(place).chmod(0o600)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _is_ours(sock: socket.socket) -> bool:
    """Tell whether the peer is of the server's user, or of root."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in {0, os.geteuid()}
