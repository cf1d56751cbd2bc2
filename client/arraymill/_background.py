"""One event loop on one thread, for all synchronous clients of the process.

Several event loops in one process would fight over gRPC's one poller; so there is exactly one. It starts at first use.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, ParamSpec, TypeVar

from arraymill._fork import check_process
from arraymill_proto.errors import ArraymillError

P = ParamSpec("P")
T = TypeVar("T")

THREAD_NAME: Final = "arraymill"

STOP_SECONDS: Final = 2.0
"""How long a cancelled call, and the end of the process, wait for the loop; its thread is a daemon all the same."""


class Background:
    """An event loop and the thread that runs it."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._serve, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def run(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function and wait for it; see `run`."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("the synchronous Client cannot be used inside a progress callback; use AsyncClient")
        call = _Call(partial(function, *args, **kwargs))
        try:
            self._loop.call_soon_threadsafe(call.begin)
            return call.answer.result()
        except BaseException:
            if not call.answer.done():
                self._loop.call_soon_threadsafe(call.cancel)
                with suppress(TimeoutError, CancelledError):
                    call.answer.exception(STOP_SECONDS)
            raise

    def stop(self) -> None:
        """End the loop. What still runs on it ends with the process, and the server notices that."""
        if os.getpid() == self._pid and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


class _Call(Generic[T]):
    """A call of another thread.

    Its coroutine is made, cancelled and ended on the loop's thread only. Ctrl-C strikes the main thread between any two
    of its steps: a coroutine made there could be lost before anybody runs it, and Python complains of such.
    """

    def __init__(self, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._function = function
        self._task: asyncio.Task[T] | None = None
        self.answer: Future[T] = Future()

    def begin(self) -> None:
        """Start the work; on the loop."""
        self._task = asyncio.ensure_future(self._work())
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Cancel the work, if it has begun; on the loop."""
        if self._task is None:
            self.answer.cancel()
        else:
            self._task.cancel()

    async def _work(self) -> T:
        return await self._function()  # wrong arguments are an error of the work: a callback's reaches nobody

    def _end(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.cancel()
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, as it is with the server: small jobs run twice as fast."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


_lock = threading.Lock()
_background: Background | None = None
_has_ended = False


@atexit.register
def _end() -> None:
    """Stop the loop when the process ends.

    Registered by the import and not by the first use: what a program registers later, to close its client for
    instance, comes first.
    """
    global _has_ended  # noqa: PLW0603  # a fact of the process
    _has_ended = True
    if _background is not None:
        _background.stop()


def run(function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function on the background loop and wait for it.

    Ctrl-C (or any other exception in the waiting thread) cancels the coroutine and waits until it has ended.

    Raises:
        RuntimeError: Called on the background loop itself, where it could never end.
        ArraymillError: This process was forked from one that used arraymill, or it is ending.
    """
    check_process()
    return _running().run(function, *args, **kwargs)


def _running() -> Background:
    global _background  # noqa: PLW0603  # one per process is the point
    with _lock:
        if _has_ended:
            raise ArraymillError("the process is ending: close clients before, or register that with atexit")
        _background = _background or Background()
        return _background
