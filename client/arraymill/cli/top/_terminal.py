"""A terminal that shows one thing after the other in full, reads single keys, and is given back as it was.

Whatever ends the program, the terminal leaves its second screen, shows its cursor and echoes what is typed: on q and
Ctrl-C, on every signal that can be handled, and while the program is stopped by Ctrl-Z. Nothing helps against SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

_DEADLY: Final = (signal.SIGHUP, signal.SIGQUIT)
"""Would end the program at once: they end it as SIGTERM does."""

_KEYS_BYTES: Final = 256


class Terminal:
    """A context manager: in between, the terminal belongs to the program. Enter it in a running event loop.

    Args:
        console: On stdout, a terminal that understands more than lines.
        on_key: Called with each key that is typed.
        on_change: Called when all must be drawn again: its size may be another.
    """

    def __init__(self, console: Console, on_key: Callable[[str], None], on_change: Callable[[], None]) -> None:
        self._console = console
        self._on_key = on_key
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None  # pyright: ignore[reportUnnecessaryComparison]  # the file descriptor is closed
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if self._keyboard is not None:
            self._before = termios.tcgetattr(self._keyboard)
            self._loop.add_reader(self._keyboard, self._read)
        for number in _DEADLY:
            self._loop.add_signal_handler(number, partial(os.kill, os.getpid(), signal.SIGTERM))
        self._loop.add_signal_handler(signal.SIGTSTP, self._pause)
        self._loop.add_signal_handler(signal.SIGWINCH, self._on_change)
        try:
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (*_DEADLY, signal.SIGTSTP, signal.SIGWINCH):
            self._loop.remove_signal_handler(number)
        if self._keyboard is not None:
            self._loop.remove_reader(self._keyboard)
        with suppress(OSError, termios.error):  # it may be gone
            self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self._console.size

    def draw(self, lines: Sequence[Text]) -> None:
        """Show some lines, which fit, and nothing else."""
        with self._console:  # all in one write
            self._console.control(Control.home())
            for index, line in enumerate(lines):
                if index:
                    self._console.control(Control((ControlType.CURSOR_MOVE_TO, 0, index)))
                self._console.print(line, end="", no_wrap=True, soft_wrap=True, highlight=False, markup=False)
                self._console.control(Control((ControlType.ERASE_IN_LINE, 0)))
            self._erase_below(len(lines))

    def _erase_below(self, count: int) -> None:
        for index in range(count, self._console.size.height):
            self._console.control(
                Control((ControlType.CURSOR_MOVE_TO, 0, index)), Control((ControlType.ERASE_IN_LINE, 2))
            )

    def _take(self) -> None:
        if self._keyboard is not None:
            tty.setcbreak(self._keyboard, termios.TCSADRAIN)
        self._console.set_alt_screen()
        self._console.show_cursor(False)

    def _give_back(self) -> None:
        try:
            self._console.show_cursor()
            self._console.set_alt_screen(False)
        finally:
            if self._keyboard is not None and self._before is not None:
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._before)

    def _pause(self) -> None:
        """Stop as Ctrl-Z asks for, and go on where the shell lets it."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._on_change()

    def _read(self) -> None:
        assert self._keyboard is not None
        try:
            typed = os.read(self._keyboard, _KEYS_BYTES)
        except OSError:
            typed = b""
        if not typed:  # the terminal is gone
            self._loop.remove_reader(self._keyboard)
        for key in typed.decode(errors="replace"):
            self._on_key(key)
