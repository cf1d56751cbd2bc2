"""The monitor: where it listens, how it reads in the loop for another thread, and how it sees that the loop is late."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from patience import turns, until
from scrapes import samples, scrape

from arraymill_server.app import monitor as module
from arraymill_server.app.monitor import Monitor
from arraymill_server.arena.arena import Arena
from arraymill_server.config import ConfigError
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.listen import Address
from arraymill_server.metrics.endpoint import MAX_CONNECTIONS
from arraymill_server.metrics.families import FAMILIES, Reading
from arraymill_server.rpc.calls import Calls

HERE = Address("127.0.0.1", 0)


def monitor_of(calls: Calls) -> Monitor:
    arena = Arena((ctypes.c_ubyte * (1 << 20))())
    residents = Residents(arena, arena.size // 4, 60.0)
    engine = SerialEngine(arena.space)
    jobs = Jobs(arena, engine, Admission(arena, 100), residents, slots=3)
    return Monitor(arena, engine, jobs, residents, calls)


async def test_without_an_address_there_is_nothing() -> None:
    monitor = monitor_of(Calls(3))
    monitor.listen(None, is_shared=False)
    monitor.serve()
    assert monitor.port == 0
    await monitor.leave()
    await monitor.close()


async def test_a_reading_has_every_metric() -> None:
    assert set(await monitor_of(Calls(3)).reading()) == {family.name for family in FAMILIES}


async def test_a_scrape_reads_in_the_event_loop() -> None:
    calls = Calls(3)
    monitor = monitor_of(calls)
    monitor.listen(HERE, is_shared=False)
    monitor.serve()
    with calls.jobs.taken("c"), calls.waits.taken("c"):
        values = samples(await asyncio.to_thread(scrape, monitor.port))
    assert [values[f"arraymill_calls{{kind={kind}}}"] for kind in ("job", "waiting", "feeding")] == [1, 1, 0]
    assert values["arraymill_arena_bytes"] == values["arraymill_arena_largest_free_bytes"] == 1 << 20
    assert repr(monitor).startswith("<Monitor <Counts of 0 jobs")
    await monitor.leave()
    assert await asyncio.to_thread(scrape, monitor.port), "nobody else listens there"
    await monitor.close()
    await monitor.close()


async def test_a_loop_that_hangs_fails_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.05)
    monitor = monitor_of(Calls(3))
    monitor.listen(HERE, is_shared=False)
    monitor.serve()

    def failing() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", monitor.port, timeout=20)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        told = answer.status, answer.read()
        connection.close()
        return told

    failed = asyncio.get_running_loop().run_in_executor(None, failing)
    while not failed.done():
        time.sleep(0.2)  # noqa: ASYNC251  # the loop hangs
        await asyncio.sleep(0)
    assert await failed == (503, b"the server is busy: no answer within 0.05 s\n")
    await monitor.close()


class Gate:
    """A lock that counts who has had it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.passed = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self.passed.release()


async def test_those_who_ask_while_the_loop_hangs_share_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, begun = monitor_of(Calls(3)), 0
    read = monitor.reading

    async def reading() -> Reading:
        nonlocal begun
        begun += 1
        return await read()

    gate = Gate()
    monkeypatch.setattr(monitor, "reading", reading)
    monkeypatch.setattr(monitor, "_lock", gate)
    monitor.listen(HERE, is_shared=False)
    monitor.serve()
    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        for asked in (1, 2):
            scrapes = [pool.submit(scrape, monitor.port) for _ in range(MAX_CONNECTIONS)]
            for _ in scrapes:
                assert gate.passed.acquire(timeout=20), "the loop hangs"
            assert begun == asked - 1
            texts = [await asyncio.wrap_future(scraped) for scraped in scrapes]
            assert begun == asked
            assert all("arraymill_workers" in text for text in texts)
    await monitor.close()


async def test_a_loop_that_is_late_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_LAG_SECONDS", 0.01)
    calls = Calls(3)
    watching = asyncio.ensure_future(monitor_of(calls).watch())
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251
    await until(lambda: calls.counts.recent_lag_seconds > 0)
    assert calls.counts.recent_lag_seconds >= 0.04
    watching.cancel()


async def test_the_clock_is_looked_at_often_while_there_are_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAG_SECONDS", 0.001)
    calls = Calls(3)
    calls.counts.ended("sum", "succeeded")
    watching = asyncio.ensure_future(monitor_of(calls).watch())
    await until(lambda: sum(calls.counts.lag.counts) == 1)
    calls.counts.ended("sum", "succeeded")
    await turns(5)
    assert sum(calls.counts.lag.counts) == 1, "nothing has ended before it was looked at: it waits for long"
    watching.cancel()


async def test_an_address_that_cannot_be_had_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port} for metrics: .*in use; choose"):
            monitor_of(Calls(3)).listen(Address("127.0.0.1", port), is_shared=False)
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:9464 for metrics: "):
        monitor_of(Calls(3)).listen(Address("192.0.2.1", 9464), is_shared=False)
