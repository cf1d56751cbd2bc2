"""Where the clients of the bulk lane come in: who says a job's secret gets the job's connection, all others nothing."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Final, Self

from arraymill_proto.bulk import HELLO_BYTES, SECRET_BYTES, SOCKET_OPTIONS, WELCOME, decode_hello
from arraymill_server.config import ConfigError
from arraymill_server.listen import Address
from arraymill_server.log import get_logger
from arraymill_server.rpc.bulk import BulkConnection, BulkJob, fill

HELLO_SECONDS: Final = 5.0
"""Time in which a new connection must say its hello."""

MAX_STRANGERS: Final = 64
"""Connections that may stand without having said their hello; the next one waits in the kernel's queue."""

RETRY_SECONDS: Final = 0.1
"""Pause when the process has no file descriptor left for a new connection."""

_log = get_logger(__name__)


class BulkListener:
    """Listens on some hosts, at one port. Make it in a running event loop.

    Args:
        sockets: Bound, listening and non-blocking; the listener closes them.
    """

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets
        self.port: Final[int] = sockets[0].getsockname()[1]
        self._offers: dict[bytes, BulkJob] = {}
        self._strangers = asyncio.Semaphore(MAX_STRANGERS)
        self._tasks: set[asyncio.Task[None]] = set()
        for listening in sockets:
            self._run(self._accept(listening))

    def __repr__(self) -> str:
        return f"<BulkListener at port {self.port}: {len(self._offers)} offers, {len(self._tasks)} tasks>"

    @classmethod
    def open(cls, addresses: Sequence[Address], port: int) -> Self | None:
        """Listen on the hosts of some addresses.

        Args:
            addresses: Of the gRPC server. Unix sockets are left out: other lanes serve the same machine.
            port: 0 picks a free one.

        Returns:
            The listener, None when no address has a host.

        Raises:
            ConfigError: The port cannot be had.
        """
        sockets: list[socket.socket] = []
        try:
            for host in _hosts(addresses):
                sockets += _bind_all(host, sockets[0].getsockname()[1] if sockets else port)
        except OSError as exc:
            for sock in sockets:
                sock.close()
            raise ConfigError(
                f"cannot listen on port {port or 'any'} for the bulk lane: {exc.strerror}; choose another --bulk-port "
                "or --bulk-port off"
            ) from exc
        return cls(sockets) if sockets else None

    def offer(self, job: BulkJob) -> bytes:
        """Return the secret with which the client of a job may come, once, until it is withdrawn."""
        secret = secrets.token_bytes(SECRET_BYTES)
        self._offers[secret] = job
        return secret

    def withdraw(self, secret: bytes) -> None:
        """Let nobody come with a secret any more. Safe to call twice."""
        self._offers.pop(secret, None)

    async def close(self) -> None:
        """End all connections and stop listening."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._sockets:
            listening.close()

    # ------------------------------------------------------------------ inside

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._strangers.acquire()
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as exc:  # the caller has gone again, or there is no descriptor left
                _log.debug("no connection accepted", error=exc.strerror)
                self._strangers.release()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except BaseException:
                self._strangers.release()
                raise
            self._run(self._attend(sock))

    async def _attend(self, sock: socket.socket) -> None:
        """Serve a connection to its end."""
        with sock:
            try:
                job = await self._known(sock)
            finally:
                self._strangers.release()
            if job is not None:
                connection = BulkConnection(sock, job)
                job.bulk_opened(connection)
                await connection.serve()

    async def _known(self, sock: socket.socket) -> BulkJob | None:
        """Return the job whose secret a new connection says."""
        hello = bytearray(HELLO_BYTES)
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(HELLO_SECONDS):
                for option in SOCKET_OPTIONS:
                    sock.setsockopt(*option)
                await fill(sock, memoryview(hello))
                secret = decode_hello(bytes(hello))
                if secret is None or secret not in self._offers:
                    return None
                await asyncio.get_running_loop().sock_sendall(sock, WELCOME)
                return self._offers.pop(secret, None)
        return None


def _hosts(addresses: Sequence[Address]) -> list[str]:
    """Return the hosts to listen on: all interfaces of a family make the others of that family superfluous."""
    hosts = dict.fromkeys(address.host for address in addresses if address.host)
    if "::" in hosts:
        return ["::"]
    if "0.0.0.0" in hosts:  # noqa: S104  (the user's words, not a default)
        return ["0.0.0.0", *(host for host in hosts if ":" in host)]  # noqa: S104
    return list(hosts)


def _bind_all(host: str, port: int) -> list[socket.socket]:
    """Listen at all addresses of a host, all at one port.

    Raises:
        OSError: One cannot be had.
    """
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            taken = sockets[0].getsockname()[1] if sockets else port
            is_dual = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
            listening = socket.create_server(
                (str(address[0]), taken), family=family, backlog=MAX_STRANGERS, dualstack_ipv6=is_dual
            )
            listening.setblocking(False)
            sockets.append(listening)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
