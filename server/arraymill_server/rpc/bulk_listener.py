"""Where the clients of the bulk lane come in: who says a job's secret gets the job's connection, all others nothing."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Coroutine, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Self

from arraymill_proto.bulk import HELLO_BYTES, SECRET_BYTES, WELCOME, decode_hello, tune
from arraymill_server.config import ConfigError
from arraymill_server.listen import Address
from arraymill_server.log import get_logger
from arraymill_server.rpc.bulk import BulkConnection, BulkJob, fill

HELLO_SECONDS: Final = 5.0
"""Time in which a new connection must say its hello."""

MAX_STRANGERS: Final = 64
"""Connections that may stand without having said their hello; the next one takes the place of the oldest. Who has a
secret says it at once: silent ones keep him out only if they come faster than he speaks."""

BACKLOG: Final = 1024
"""Connections that the kernel holds while the event loop is busy: hundreds of jobs may begin at once."""

RETRY_SECONDS: Final = 0.1
"""Pause when the process has no file descriptor left for a new connection."""

PORT_TRIES: Final = 16
"""Free ports that are tried where several addresses need the same one: another process may have it at one of them."""

_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors of an address that this machine does not have, such as ::1 of localhost where IPv6 is switched off."""

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
        self._strangers: dict[socket.socket, asyncio.Task[None]] = {}
        """Oldest first."""
        self._tasks: set[asyncio.Task[None]] = set()
        for listening in sockets:
            self._run(self._accept(listening))

    def __repr__(self) -> str:
        strangers = len(self._strangers)
        served = len(self._tasks) - len(self._sockets) - strangers
        return f"<BulkListener at port {self.port}: {len(self._offers)} offers, {served} served, {strangers} strangers>"

    @classmethod
    def open(cls, addresses: Sequence[Address], port: int, *, take_over: bool = False) -> Self | None:
        """Listen on the hosts of some addresses.

        Args:
            addresses: Of the gRPC server, which says what is wrong with one that this machine does not have. Unix
                sockets are left out: other lanes serve the same machine.
            port: 0 picks a free one.
            take_over: Listen at the port even if another server does; whoever comes to the wrong one of the two sends
                everything through gRPC.

        Returns:
            The listener, None when no address has a host.

        Raises:
            ConfigError: The port cannot be had.
        """
        try:
            sockets = _listen(_places(_hosts(addresses)), port, 1 if port else PORT_TRIES, take_over)
        except OSError as exc:
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

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as exc:  # the caller has gone again, or there is no descriptor left
                _log.debug("no connection accepted", error=exc.strerror)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if len(self._strangers) >= MAX_STRANGERS:
                self._strangers.pop(next(iter(self._strangers))).cancel()
            self._strangers[sock] = self._run(self._attend(sock))
            await asyncio.sleep(0)  # where callers are always waiting nothing else would ever run

    async def _attend(self, sock: socket.socket) -> None:
        """Serve a connection to its end."""
        with sock:
            try:
                job = await self._known(sock)
            finally:
                self._strangers.pop(sock, None)
            if job is not None:
                connection = BulkConnection(sock, job)
                job.bulk_opened(connection)
                await connection.serve()

    async def _known(self, sock: socket.socket) -> BulkJob | None:
        """Return the job whose secret a new connection says. To be welcomed and to have the connection is one step."""
        hello = bytearray(HELLO_BYTES)
        with suppress(OSError, EOFError, TimeoutError):
            tune(sock)
            async with asyncio.timeout(HELLO_SECONDS):
                await fill(sock, memoryview(hello))
            secret = decode_hello(bytes(hello))
            if secret is not None and secret in self._offers:
                sock.send(WELCOME)  # does not block: it is the first byte
                return self._offers.pop(secret)
        return None


def _hosts(addresses: Sequence[Address]) -> list[str]:
    """Return the hosts to listen on: all interfaces of a family make the others of that family superfluous."""
    hosts = dict.fromkeys(address.host for address in addresses if address.host)
    if "::" in hosts:
        return ["::"]
    if "0.0.0.0" in hosts:
        return ["0.0.0.0", *(host for host in hosts if ":" in host)]
    return list(hosts)


def _places(hosts: Iterable[str]) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of some hosts, each once; a name that nobody knows has none."""
    places: dict[tuple[socket.AddressFamily, str], None] = {}
    for host in hosts:
        with suppress(socket.gaierror, UnicodeError):  # the latter of a name that is too long
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            places |= {(family, str(place[0])): None for family, _, _, _, place in found}
    return list(places)


def _listen(
    places: Sequence[tuple[socket.AddressFamily, str]], port: int, tries: int, take_over: bool
) -> list[socket.socket]:
    """Listen at all addresses that this machine has, all at one port.

    Raises:
        OSError: The port cannot be had at one of them.
    """
    sockets: list[socket.socket] = []
    try:
        for family, host in places:
            taken = sockets[0].getsockname()[1] if sockets else port
            with _absence_forgiven():
                sockets.append(_bind(family, host, taken, take_over))
    except OSError as exc:
        for sock in sockets:
            sock.close()
        if tries > 1 and exc.errno == errno.EADDRINUSE:
            return _listen(places, port, tries - 1, take_over)
        raise
    return sockets


@contextmanager
def _absence_forgiven() -> Generator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in _ABSENT:
            raise


def _bind(family: socket.AddressFamily, host: str, port: int, take_over: bool) -> socket.socket:
    is_dual = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(
        (host, port), family=family, backlog=BACKLOG, dualstack_ipv6=is_dual, reuse_port=take_over and port != 0
    )
    listening.setblocking(False)
    return listening
