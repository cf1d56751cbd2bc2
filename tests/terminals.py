"""Pseudo-terminals for tests of what draws on a whole screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

SECONDS = 60

ENTER, LEAVE, SHOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
"""What a program says to a terminal to get its second screen, to leave it, and to show the cursor."""


class Screen:
    """A program on a terminal of its own, which is that of a session of its own."""

    def __init__(self, *command: str, columns: int = 80, lines: int = 24, **env: str) -> None:
        self._controller, self._terminal = pty.openpty()
        self._closing = ExitStack()
        for side in (self._controller, self._terminal):
            self._closing.callback(os.close, side)
        self.resize(columns, lines, tell=False)
        self._modes = termios.tcgetattr(self._terminal)
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _AS_LEADER, *command],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            env={**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", **env},
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int, *, tell: bool = True) -> None:
        """Have another size; the kernel tells the program."""
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            self.shown = ""

    def press(self, keys: str) -> None:
        """Type something."""
        os.write(self._controller, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until the program has shown a text, since the last resizing."""
        end = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            self._read(0.1)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        end = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < end, self.shown
            self._read(0.05)
        self._read(0)
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal shows its first screen and its cursor, and reads as it did before."""
        is_first = self.shown.rfind(LEAVE) >= self.shown.rfind(ENTER)
        is_visible = self.shown.rfind(SHOW) >= self.shown.rfind("\x1b[?25l")
        return is_first and is_visible and termios.tcgetattr(self._terminal) == self._modes

    def hang_up(self) -> int:
        """Take the terminal away; return the exit code."""
        self._closing.close()
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._closing.close()

    def _read(self, seconds: float) -> None:
        while select.select([self._controller], [], [], seconds)[0]:
            self.shown += os.read(self._controller, 65536).decode(errors="replace")
            seconds = 0


_AS_LEADER = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Makes its terminal that of its session, so that keys are signals, and becomes the command."""


@contextmanager
def screen(*command: str, columns: int = 80, lines: int = 24, **env: str) -> Generator[Screen]:
    """Run a Python command on a terminal."""
    opened = Screen(*command, columns=columns, lines=lines, **env)
    try:
        yield opened
    finally:
        opened.close()
