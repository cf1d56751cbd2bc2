"""Where Prometheus asks for the metrics: GET /metrics over HTTP, in threads of its own.

Theory of operation. One thread accepts, and a thread per connection answers with what the client library of Prometheus
writes. The event loop notices a scrape by one short callback that reads all values at a time (`read`), and by the
milliseconds for which the other thread has the interpreter. A scrape needs one connection, and two Prometheus servers
and a curious operator three: when there are more than MAX_CONNECTIONS, the oldest is ended. So nobody who keeps
connections open, reads slowly or never says anything keeps the others out, and nothing he does takes much memory.
The thread of a connection that was ended goes on while it waits for the event loop: where MAX_THREADS do, whoever comes
is told that the server is busy.

Rejected: serving it on the event loop (a slow scraper would have to be cared for there, and to write the text takes
milliseconds of it); the library's own server (a thread for each connection, as many as come, and each for ever).
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler, choose_encoder

from arraymill_server.metrics.families import UnreadableError

PATH: Final = "/metrics"

MAX_CONNECTIONS: Final = 8
"""Connections that are open at once: those who ask rarely have more than one, and each costs a thread."""

MAX_THREADS: Final = 2 * MAX_CONNECTIONS
"""Threads that answer, with those whose connections were ended."""

THREAD_SECONDS: Final = 0.25
"""What a connection waits for a thread: one that was ended and does not wait for the event loop needs less."""

SILENCE_SECONDS: Final = 5.0
"""What a client may take to send its next byte, or to take some: Prometheus gives up after 10 s by default."""

RETRY_SECONDS: Final = 0.5
"""Pause when the process has no file descriptor left for a new connection."""

CLOSE_SECONDS: Final = 1.0
"""What answers get to end at the end: their connections are cut by then."""

BACKLOG: Final = 128

BUSY: Final = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"the server is busy: too many ask for its metrics\n"
)

_log = logging.getLogger(__name__)


class Endpoint:
    """Answers scrapes. It listens from the beginning, and answers from `serve` on.

    Args:
        host: Name or address of this machine.
        port: 0 picks a free one.
        registry: What is told; it may raise UnreadableError.
        is_shared: Whether another process may listen there as well.

    Raises:
        OSError: It cannot listen there.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, *, is_shared: bool = False) -> None:
        self._listener = _listening(host, port, is_shared=is_shared)
        self.port: Final[int] = self._listener.getsockname()[1]
        self._handler: Any = _Handler.factory(registry)
        self._accepting = threading.Thread(target=self._accept, name="metrics", daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads = threading.BoundedSemaphore(MAX_THREADS)
        self._open: dict[threading.Thread, socket.socket] = {}
        """Who is answered, the oldest first."""

    def __repr__(self) -> str:
        return f"<Endpoint at port {self.port}: {len(self._open)} connections>"

    def serve(self) -> None:
        """Answer from now on."""
        self._accepting.start()

    def close(self) -> None:
        """End everything. Safe to call twice.

        It may take CLOSE_SECONDS, in which whoever provides the values has to go on.
        """
        self._closing.set()
        with suppress(OSError):  # it is closed already
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which `close` alone would not
        if self._accepting.is_alive():
            self._accepting.join()
        self._listener.close()
        with self._lock:
            answers = list(self._open)
            for connection in self._open.values():
                _cut(connection)
        due = monotonic() + CLOSE_SECONDS
        for answer in answers:
            answer.join(max(0.0, due - monotonic()))

    # ------------------------------------------------------------------ inside

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError:
                self._closing.wait(RETRY_SECONDS)
                continue
            if not self._threads.acquire(timeout=THREAD_SECONDS):
                _turn_away(connection)
                continue
            try:
                self._begin(connection, peer)
            except RuntimeError:  # no thread can be started
                self._threads.release()
                connection.close()

    def _begin(self, connection: socket.socket, peer: Any) -> None:
        thread = threading.Thread(target=self._answer, args=(connection, peer), name="scrape", daemon=True)
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _cut(self._open.pop(next(iter(self._open))))
            thread.start()
            self._open[thread] = connection

    def _answer(self, connection: socket.socket, peer: Any) -> None:
        try:
            with connection:
                self._handler(connection, peer, self)
        except OSError:
            pass  # whoever has asked is gone, or was ended
        except Exception:
            _log.exception("a scrape failed")
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)
            self._threads.release()


class _Handler(MetricsHandler):
    """Answers one request: the library writes the metrics."""

    timeout = SILENCE_SECONDS

    def parse_request(self) -> bool:
        """Read the request; one that is for something else is answered at once."""
        if not super().parse_request():
            return False
        if self.path.partition("?")[0] != PATH:
            self._tell(HTTPStatus.NOT_FOUND, f"there is only {PATH} here\n")
        elif self.command not in ("GET", "HEAD"):
            self._tell(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n", Allow="GET, HEAD")
        else:
            return True
        return False

    def do_GET(self) -> None:  # noqa: N802  # the name that the standard library calls
        """Answer with the metrics."""
        try:
            super().do_GET()
        except UnreadableError as error:
            self._tell(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")

    def do_HEAD(self) -> None:  # noqa: N802
        """Answer with how the metrics would come."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", choose_encoder(self.headers.get("Accept", ""))[1])
        self.end_headers()

    def version_string(self) -> str:
        """Return who answers."""
        return "arraymill"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: Prometheus itself tells of scrapes that fail."""

    def _tell(self, status: HTTPStatus, text: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())


def _listening(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart old connections linger there
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _cut(connection: socket.socket) -> None:
    """End a connection under the thread that uses it."""
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _turn_away(connection: socket.socket) -> None:
    """Say that the server is busy, without waiting for anything."""
    with connection, suppress(OSError):  # whoever has asked is gone
        connection.setblocking(False)
        connection.sendall(BUSY)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1 << 16)  # what is unread at the end would take the answer away
