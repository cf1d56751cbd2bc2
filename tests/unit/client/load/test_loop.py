"""The event loop of generators: an ordinary one, whose waits are not rounded to milliseconds."""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
import time
from typing import Any, cast

import pytest

from arraymill.load._loop import precise_loop


async def _talk() -> bytes:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, one.send, b"x")
        return await loop.sock_recv(other, 1)


def test_it_waits_for_descriptors_and_for_times() -> None:
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert runner.run(_talk()) == b"x"
        begin = time.monotonic()
        runner.run(asyncio.sleep(0.0123))
        assert time.monotonic() - begin >= 0.0123


def test_it_does_not_round_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoll, which rounds, is asked but never waits; what is shorter than a wait costs is not waited for at all."""
    asked, waits = list[float | None](), list[float]()
    epoll, wait = selectors.EpollSelector.select, select.select

    def ask(self: selectors.EpollSelector, timeout: float | None = None) -> Any:
        asked.append(timeout)
        return epoll(self, timeout)

    def wait_once(*arguments: Any) -> Any:
        waits.append(arguments[-1])
        return wait(*arguments)

    monkeypatch.setattr(selectors.EpollSelector, "select", ask)
    monkeypatch.setattr(select, "select", wait_once)
    loop = precise_loop()
    try:
        selector: selectors.BaseSelector = cast("Any", loop)._selector
        for timeout in (0.0, 1e-6, 19e-6, 0.0002, 0.0123):
            selector.select(timeout)
    finally:
        loop.close()
    assert waits == [0.0002, 0.0123]
    assert asked == [0] * 5
