"""The threads of a server beside its event loop."""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, Thread
from typing import Final

THREADS: Final = 4
"""For what the event loop does not do itself: one plans large graphs (`jobs.aside`), one compares them with that of a
key (`rpc.submitted`), one counts connections, one makes shared memory. They wait for nothing but freed memory."""


def start_threads() -> None:
    """Give the event loop all threads that it may ever have: their number is the same from the start to the end."""
    threads = ThreadPoolExecutor(THREADS, "arraymill-aside")
    all_run = Barrier(THREADS)
    for _ in range(THREADS):
        threads.submit(all_run.wait)
    asyncio.get_running_loop().set_default_executor(threads)


def begin_imports() -> None:
    """Import gRPC and what needs it on a thread, beside the writing of the arena."""
    Thread(target=_import_grpc, name="arraymill-imports", daemon=True).start()


def _import_grpc() -> None:
    """Import what is needed after it; an error is told there."""
    with suppress(ImportError):
        importlib.import_module("arraymill_server.rpc.server")
