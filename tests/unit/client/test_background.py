"""The event loop of synchronous clients: one per process, and Ctrl-C ends what it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from unit.client.keyboard import press_ctrl_c

from arraymill._background import THREAD_NAME, Background, run


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_all_threads_share_one_loop() -> None:
    loops = {run(_loop)}
    threads = [threading.Thread(target=lambda: loops.add(run(_loop))) for _ in range(8)]
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
        run(fail)


def test_wrong_arguments_are_an_error() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        run(_loop, nonsense=1)  # type: ignore[call-arg]  # that is the point


async def test_it_works_beside_a_running_loop() -> None:
    assert run(_loop) is not asyncio.get_running_loop()


def test_using_it_from_itself_is_an_error() -> None:
    async def nested() -> None:
        run(_loop)

    with pytest.raises(RuntimeError, match="cannot be used inside a progress callback; use AsyncClient"):
        run(nested)


@pytest.mark.parametrize("has_it", [False, True])
def test_ctrl_c_while_the_loop_is_given_the_call(monkeypatch: pytest.MonkeyPatch, *, has_it: bool) -> None:
    """Either the call never begins, or it is cancelled; nobody waits, and no coroutine is left that nobody ran."""
    begun: list[str] = []

    async def work() -> None:
        begun.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            begun.append("ended")

    class Interrupted:
        """The loop, with Ctrl-C at the first call that it is given."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._calls = 0

        def call_soon_threadsafe(self, call: Callable[[], object]) -> None:
            self._calls += 1
            if has_it or self._calls > 1:
                self._loop.call_soon_threadsafe(call)
            if self._calls == 1:
                raise KeyboardInterrupt

    loop = run(_loop)
    background = Background()
    try:
        monkeypatch.setattr(background, "_loop", Interrupted(background.run(_loop)))
        with pytest.raises(KeyboardInterrupt):
            background.run(work)
        monkeypatch.undo()
        assert background.run(_loop) is not loop
    finally:
        background.stop()
    assert begun in ([], ["begun", "ended"] * has_it)  # what is cancelled at once does not even begin


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
        run(work)
    assert story == ["cleaned up"]
