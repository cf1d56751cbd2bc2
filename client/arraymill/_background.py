"""One event loop on one thread, for all synchronous clients of the process.

Several event loops in one process would fight over gRPC's one poller; so there is exactly one. It starts at first use,
and again in a forked child, which inherits no threads.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

THREAD_NAME: Final = "arraymill"
STOP_SECONDS: Final = 2.0
"""How long the end of the process waits for the thread; it is a daemon all the same."""

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it.

    Ctrl-C (or any other exception in the waiting thread) cancels the coroutine and waits until it has ended.

    Raises:
        RuntimeError: Called on the background loop itself, where it could never end.
    """
    loop = _running_loop()
    if threading.current_thread().name == THREAD_NAME:
        work.close()
        raise RuntimeError("the synchronous Client cannot be used inside a progress callback; use AsyncClient")
    future = asyncio.run_coroutine_threadsafe(_shielded(work), loop)
    try:
        return future.result()
    except BaseException:
        if not future.done():
            future.cancel()
            _wait_ended(loop)
        raise


async def _shielded(work: Coroutine[Any, Any, T]) -> T:
    return await work


def _wait_ended(loop: asyncio.AbstractEventLoop) -> None:
    """Give a cancelled coroutine its turns on the loop."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(STOP_SECONDS)


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _pid  # one per process is the point
    with _lock:
        if _loop is None or _pid != os.getpid():
            _loop, _pid = _new_loop(), os.getpid()
            thread = threading.Thread(target=_serve, args=(_loop,), name=THREAD_NAME, daemon=True)
            thread.start()
            atexit.register(_stop, _loop, thread, _pid)
        return _loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, as it is with the server: small jobs run twice as fast."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, pid: int) -> None:
    if os.getpid() == pid and thread.is_alive():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
