"""What a server does when one of its own parts fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from arraymill_server.app import server
from arraymill_server.app.exit_codes import ExitCode
from arraymill_server.app.server import App, serve
from arraymill_server.app.threads import THREADS
from arraymill_server.config import ServerConfig
from arraymill_server.jobs.residents import Residents
from arraymill_server.quantities import MIB


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """The path of a socket in a folder where nothing may be left."""
    yield tmp_path / "socket"
    assert not list(tmp_path.iterdir())


def config(path: Path) -> ServerConfig:
    return ServerConfig(
        listen=(f"unix:{path}",),
        workers=1,
        arena_bytes=48 * MIB,
        shared_memory_bytes=64 * MIB,
        resident_budget_bytes=0,
        worker_memory_bytes=256 * MIB,
    )


def broken(*_: object) -> NoReturn:
    raise ZeroDivisionError("broken on purpose")


async def test_every_step_of_the_shutdown_is_taken(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(config(socket), broken)
    await app.start()
    close = app.engine.close

    async def broken_close() -> None:
        await close()
        broken()

    assert app._rpc is not None  # pyright: ignore[reportPrivateUsage]  # there is no other way to break it
    stop = app._rpc.stop  # pyright: ignore[reportPrivateUsage]

    async def broken_stop(grace_seconds: float) -> None:
        await stop(grace_seconds)
        broken()

    monkeypatch.setattr(app.engine, "close", broken_close)
    monkeypatch.setattr(app._rpc, "stop", broken_stop)  # pyright: ignore[reportPrivateUsage]
    with capture_logs() as logged:
        assert not await app.stop(10, asyncio.Event())
    failed = [entry["step"] for entry in logged if entry["event"] == "a step of the shutdown failed"]
    assert failed == ["stop gRPC", "end the workers"]


async def test_without_a_failure_the_end_is_clean(socket: Path) -> None:
    app = App(config(socket), broken)
    await app.start()
    assert await app.stop(10, asyncio.Event())


async def test_the_threads_beside_the_loop_are_there_from_the_start(socket: Path) -> None:
    others = asides()
    app = App(config(socket), broken)
    await app.start()
    before = asides() - others
    await asyncio.gather(*(asyncio.to_thread(sleep, 0.01) for _ in range(20)))
    assert (len(before), asides() - others) == (THREADS, before)
    assert await app.stop(10, asyncio.Event())


def asides() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("arraymill-aside")}


async def test_a_server_that_was_never_started_stops(socket: Path) -> None:
    assert await App(config(socket), broken).stop(10, asyncio.Event())


async def test_a_broken_clock_of_resident_arrays_ends_the_server(
    socket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Residents, "expire", broken)
    with capture_logs() as logged:
        assert await serve(config(socket)) == ExitCode.FAILED
    assert "a clock failed" in [entry["event"] for entry in logged]
    assert capsys.readouterr().out.startswith("arraymill ready:")


async def test_freed_memory_is_given_back_again_and_again(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def give_back() -> bool:
        given.append(threading.current_thread().name)
        if len(given) == 3:
            loop.call_soon_threadsafe(enough.set)
        return True

    monkeypatch.setattr(server, "GIVE_BACK_SECONDS", 0.001)
    monkeypatch.setattr(server, "give_back_freed_memory", give_back)
    app = App(config(socket), broken)
    await app.start()
    await enough.wait()
    assert await app.stop(10, asyncio.Event())
    assert all(name.startswith("arraymill-aside") for name in given)
