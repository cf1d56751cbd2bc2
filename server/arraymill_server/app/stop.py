"""When a server stops, and how fast: signals, the end of standard input, defects."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Any, Final

from arraymill_server.app.watchdog import Watchdog

END_SECONDS: Final = 5.0
"""Longest end beyond the drain time. What takes the time: a second for clients to hear of it, two for workers."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Why, when and how fast a server stops. Make it in the main thread, in a running event loop, and `close` it.

    Signals have handlers of Python's, not of the loop's: the watchdog must also be armed when the loop hangs.

    Args:
        drain_seconds: What running jobs get to end.
        watch_stdin: Stop at once when standard input ends.
    """

    def __init__(self, drain_seconds: float, *, watch_stdin: bool) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reason = ""
        self.is_defect = False
        self._drain_seconds = drain_seconds
        self._signals = 0
        self._watchdog = Watchdog()
        self._loop = asyncio.get_running_loop()
        self._handlers: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._on_signal) for number in _SIGNALS
        }
        self._stdin = sys.stdin.fileno() if watch_stdin else None
        if self._stdin is not None:
            self._loop.add_reader(self._stdin, self._on_stdin)

    def __repr__(self) -> str:
        state = "hurry" if self.hurry.is_set() else "asked" if self.asked.is_set() else "not asked"
        return f"<Stop: {state} {self.reason}".rstrip() + ">"

    def defect(self) -> None:
        """Stop because of one; running jobs may still end."""
        self.is_defect = True
        self._ask("defect")

    def close(self) -> None:
        """Listen to nobody any more: the server has ended."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._unwatch_stdin()
        self._watchdog.close()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signals += 1
        self._watchdog.arm(END_SECONDS + (self._drain_seconds if self._signals == 1 else 0.0))
        self._loop.call_soon_threadsafe(self._signalled, signal.Signals(number).name)

    def _signalled(self, name: str) -> None:
        if self.asked.is_set():
            self._hurry()
        self._ask(name)

    def _on_stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._unwatch_stdin()
            self._ask("parent ended")
            self._hurry()

    def _unwatch_stdin(self) -> None:
        if self._stdin is not None:
            self._loop.remove_reader(self._stdin)
            self._stdin = None

    def _ask(self, reason: str) -> None:
        self._watchdog.arm(END_SECONDS + self._drain_seconds)
        self.reason = self.reason or reason
        self.asked.set()

    def _hurry(self) -> None:
        self._watchdog.arm(END_SECONDS)
        self.hurry.set()
