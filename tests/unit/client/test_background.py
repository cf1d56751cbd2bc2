"""The event loop of synchronous clients: one per process, and Ctrl-C ends what it runs."""

from __future__ import annotations

import asyncio
import threading
from inspect import CORO_CLOSED, getcoroutinestate

import pytest
from unit.client.keyboard import press_ctrl_c

from arraymill._background import THREAD_NAME, run


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_all_threads_share_one_loop() -> None:
    loops = {run(_loop())}
    threads = [threading.Thread(target=lambda: loops.add(run(_loop()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 1
    assert sum(thread.name == THREAD_NAME for thread in threading.enumerate()) == 1


def test_errors_come_back() -> None:
    async def fail() -> None:
        raise LookupError("from the loop")

    with pytest.raises(LookupError, match="from the loop"):
        run(fail())


async def test_it_works_beside_a_running_loop() -> None:
    assert run(_loop()) is not asyncio.get_running_loop()


def test_using_it_from_itself_is_an_error() -> None:
    async def nested() -> None:
        run(_loop())

    with pytest.raises(RuntimeError, match="cannot be used inside a progress callback; use AsyncClient"):
        run(nested())


def test_ctrl_c_before_the_loop_has_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never ran is closed: Python would complain at the end of the program."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    work = _loop()
    with pytest.raises(KeyboardInterrupt):
        run(work)
    assert getcoroutinestate(work) == CORO_CLOSED


def test_ctrl_c_cancels_and_waits() -> None:
    story: list[str] = []

    async def work() -> None:
        press_ctrl_c(after=0.05)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            story.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert story == ["cleaned up"]
