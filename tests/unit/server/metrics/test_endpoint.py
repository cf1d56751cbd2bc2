"""The endpoint: what it answers, whom it ends, and that it ends itself."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from addresses import needs_ipv6
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector
from scrapes import OPENMETRICS, openmetrics_kinds, samples, scrape

from arraymill_server.metrics import endpoint as module
from arraymill_server.metrics.endpoint import MAX_CONNECTIONS, MAX_THREADS, Endpoint
from arraymill_server.metrics.families import UnreadableError

HOST = "127.0.0.1"


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("things", "Things.", registry=made).set(7)
    return made


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[Endpoint]:
    made = Endpoint(HOST, 0, registry)
    made.serve()
    yield made
    made.close()


def ask(port: int, request: bytes) -> bytes:
    """Return all that is answered until the connection ends."""
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def status(port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request(method, path)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def test_a_scrape(endpoint: Endpoint) -> None:
    assert samples(scrape(endpoint.port)) == {"things": 7.0}
    assert openmetrics_kinds(scrape(endpoint.port, OPENMETRICS)) == {"things": "gauge"}
    assert repr(endpoint).startswith(f"<Endpoint at port {endpoint.port}: ")


def test_what_it_tells_is_compressed_for_who_takes_it(endpoint: Endpoint) -> None:
    head, _, body = ask(endpoint.port, b"GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip\r\n\r\n").partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert b"things 7.0" in gzip.decompress(body)


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/metrics?name[]=nothing", (200, b"")),
        ("HEAD", "/metrics", (200, b"")),
        ("GET", "/", (404, b"there is only /metrics here\n")),
        ("GET", "/metrics/", (404, b"there is only /metrics here\n")),
        ("HEAD", "/favicon.ico", (404, b"")),
        ("POST", "/metrics", (405, b"only GET and HEAD\n")),
        ("DELETE", "/metrics", (405, b"only GET and HEAD\n")),
    ],
)
def test_other_requests(endpoint: Endpoint, method: str, path: str, known: tuple[int, bytes]) -> None:
    assert status(endpoint.port, method, path) == known


@pytest.mark.parametrize(
    ("request_bytes", "begin"),
    [
        (b"\r\n", b""),
        (b"nonsense\r\n\r\n", b""),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"<!DOCTYPE"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.0 414"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", b"HTTP/1.0 431"),
        (b"GET /metrics HTTP/1.1\r\nX-A: " + b"x" * 70_000 + b"\r\n\r\n", b"HTTP/1.0 431"),
    ],
    ids=["empty", "nonsense", "version", "path", "many headers", "long header"],
)
def test_what_is_no_request_harms_nobody(endpoint: Endpoint, request_bytes: bytes, begin: bytes) -> None:
    with suppress(ConnectionResetError):  # it was answered before all of it was read
        assert ask(endpoint.port, request_bytes).startswith(begin)
    assert samples(scrape(endpoint.port)) == {"things": 7.0}


def test_many_silent_connections_keep_nobody_out(endpoint: Endpoint) -> None:
    silent = [socket.create_connection((HOST, endpoint.port), timeout=20) for _ in range(5 * MAX_CONNECTIONS)]
    assert samples(scrape(endpoint.port)) == {"things": 7.0}
    assert silent[0].recv(1) == b"", "the oldest was ended"
    due = time.monotonic() + 20
    while sum(thread.name == "scrape" for thread in threading.enumerate()) > MAX_CONNECTIONS:
        assert time.monotonic() < due, "those that were ended go on"
        time.sleep(0.001)
    for connection in silent:
        connection.close()


def test_who_says_nothing_is_ended(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.05)  # pyright: ignore[reportPrivateUsage]
    endpoint = Endpoint(HOST, 0, registry)
    endpoint.serve()
    assert ask(endpoint.port, b"GET /metrics HTTP/1.1\r\nX") == b""
    endpoint.close()


class Broken(Collector):
    """Raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def collect(self) -> list[object]:  # type: ignore[override]  # nothing is ever told
        raise self.error


def test_values_that_cannot_be_read_fail_the_scrape(endpoint: Endpoint, registry: CollectorRegistry) -> None:
    broken = Broken(UnreadableError("the server is busy"))
    registry._collector_to_names[broken] = []  # pyright: ignore[reportPrivateUsage]
    assert status(endpoint.port, "GET", "/metrics") == (503, b"the server is busy\n")


class Held(Collector):
    """Makes whoever asks wait, and counts how many do."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.may_go_on = threading.Event()

    def collect(self) -> list[object]:  # type: ignore[override]
        self.asked.release()
        assert self.may_go_on.wait(20)
        return []


def test_threads_are_bounded_while_the_values_do_not_come(
    endpoint: Endpoint, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "THREAD_SECONDS", 0.001)
    held = Held()
    registry._collector_to_names[held] = []  # pyright: ignore[reportPrivateUsage]
    asking: list[socket.socket] = []
    for number in range(3 * MAX_THREADS):
        asking.append(socket.create_connection((HOST, endpoint.port), timeout=20))
        asking[-1].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        if number < MAX_THREADS:
            assert held.asked.acquire(timeout=20)
    for turned_away in asking[MAX_THREADS:]:
        assert turned_away.recv(1 << 16) == module.BUSY
    assert sum(thread.name == "scrape" for thread in threading.enumerate()) == MAX_THREADS
    held.may_go_on.set()
    for kept in asking[MAX_THREADS - MAX_CONNECTIONS : MAX_THREADS]:
        assert kept.recv(1 << 16).startswith(b"HTTP/1.0 200")
    for connection in asking:
        connection.close()
    while "scrape" in {thread.name for thread in threading.enumerate()}:
        time.sleep(0.001)
    assert samples(scrape(endpoint.port)) == {"things": 7.0}


def test_it_ends_with_those_who_are_connected(registry: CollectorRegistry) -> None:
    before = set(threading.enumerate())
    endpoint = Endpoint(HOST, 0, registry)
    endpoint.serve()
    with socket.create_connection((HOST, endpoint.port), timeout=20) as silent:
        scrape(endpoint.port)  # by now the other one is taken as well
        endpoint.close()
        endpoint.close()
        assert silent.recv(1) == b""
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        scrape(endpoint.port)


def test_one_that_never_served_ends_as_well(registry: CollectorRegistry) -> None:
    endpoint = Endpoint(HOST, 0, registry)
    endpoint.close()
    with pytest.raises(ConnectionRefusedError):
        scrape(endpoint.port)


def test_an_address_belongs_to_one_unless_they_share_it(registry: CollectorRegistry) -> None:
    alone = Endpoint(HOST, 0, registry)
    with pytest.raises(OSError, match="in use"):
        Endpoint(HOST, alone.port, registry)
    alone.close()
    one = Endpoint(HOST, 0, registry, is_shared=True)
    other = Endpoint(HOST, one.port, registry, is_shared=True)
    one.close()
    other.serve()
    assert samples(scrape(other.port)) == {"things": 7.0}
    other.close()


@needs_ipv6
def test_ipv6(registry: CollectorRegistry) -> None:
    endpoint = Endpoint("::1", 0, registry)
    endpoint.serve()
    with socket.create_connection(("::1", endpoint.port), timeout=20) as connection:
        connection.sendall(b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.0 200")
    endpoint.close()
