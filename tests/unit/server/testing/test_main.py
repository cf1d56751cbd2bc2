"""`python -m arraymill_server.testing`."""

from __future__ import annotations

import runpy
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.machine import Machine
from chaos.site import Site
from patience import until

import arraymill as am
from arraymill_server.app import server
from arraymill_server.engine import processes
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.jobs.board import Board
from arraymill_server.testing.__main__ import ObservedApp, main
from arraymill_server.testing.crash_points import CrashPoint
from arraymill_server.testing.observer import JournalledStorage
from arraymill_server.testing.orders import OrderBook, ordered_main


def places() -> tuple[Any, ...]:
    return processes.PRELOAD, vars(server)["PoolEngine"], vars(server)["Board"], server.App


def test_the_doubles_are_in_their_places_while_the_command_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setenv("ARRAYMILL_TESTING", str(tmp_path))
    before = places()

    def run_module(name: str, run_name: str) -> None:
        seen.append((name, run_name, *places()))

    monkeypatch.setattr(runpy, "run_module", run_module)
    main()
    ((name, run_name, preload, engine, board, app),) = seen
    assert (name, run_name) == ("arraymill_server", "__main__")
    assert preload == [*processes.PRELOAD, ordered_main.__module__]
    assert (engine.func, board.func, app.func) == (PoolEngine, Board, ObservedApp)
    assert (engine.keywords["main"].func, engine.keywords["main"].args) == (ordered_main, (str(tmp_path),))
    assert isinstance(board.keywords["storage"], JournalledStorage)
    assert app.keywords == {"folder": tmp_path}
    assert places() == before


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="am-") as name:
        yield Path(name)


async def test_a_server_that_is_observed_tells_where_it_stands_and_dies_where_it_must(short_path: Path) -> None:
    site = Site(short_path, workers=1, arena="64MiB", machine=Machine())
    book = OrderBook(short_path)
    try:
        await site.start(CrashPoint("task queued"))
        await until(lambda: len(site.observed()) > 0)
        site.tell()
        await until(lambda: "Observer.run" in site.log(1000))
        assert "(most recent call first)" in site.log(1000), "and the threads"
        assert site.is_running
        async with am.AsyncClient(site.address, retry_for=0) as mill:
            with pytest.raises(am.ConnectionFailedError):
                await mill.sum([1.0])
        assert await site.stop() == -signal.SIGKILL
    finally:
        site.kill()
        book.close()
