"""One event loop on one thread, for all synchronous clients of the process.

Several event loops in one process would fight over gRPC's one poller; so there is exactly one. It starts at first use.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from arraymill._fork import check_process
from arraymill_proto.errors import ArraymillError

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

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and wait for it; see `run`."""
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the synchronous Client cannot be used inside a progress callback; use AsyncClient")
        ended = threading.Event()
        signalling = _signalling(work, ended)
        future: Future[T] | None = None
        try:
            future = asyncio.run_coroutine_threadsafe(signalling, self._loop)
            return future.result()
        except BaseException:
            if future is None:  # Ctrl-C came before the loop had it: Python complains of what is neither run nor closed
                signalling.close()
                work.close()
            elif future.cancel():
                ended.wait(STOP_SECONDS)
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


async def _signalling(work: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    try:
        return await work
    finally:
        ended.set()


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


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it.

    Ctrl-C (or any other exception in the waiting thread) cancels the coroutine and waits until it has ended.

    Raises:
        RuntimeError: Called on the background loop itself, where it could never end.
        ArraymillError: This process was forked from one that used arraymill, or it is ending.
    """
    try:
        check_process()
        background = _running()
    except BaseException:
        work.close()
        raise
    return background.run(work)


def _running() -> Background:
    global _background  # noqa: PLW0603  # one per process is the point
    with _lock:
        if _has_ended:
            raise ArraymillError("the process is ending: close clients before, or register that with atexit")
        _background = _background or Background()
        return _background
