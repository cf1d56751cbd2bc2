"""The end that comes whatever hangs.

A thread ends the process with an exit code and the stack of every thread on stderr. It needs the interpreter, and
somebody who reads stderr; where it has not both, the kernel's alarm ends the process half a second later.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
from time import monotonic
from typing import Final

from arraymill_server.app.exit_codes import ExitCode

ALARM_SECONDS: Final = 0.5
"""What the thread gets, once it is time, to say where the process hangs."""


class Watchdog:
    """Ends this process when its end takes too long. Its thread lives until `close`.

    `arm` may be called by a handler of a signal, in the middle of anything: it takes no lock and starts no thread.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        due = self._due
        return "<Watchdog: sleeps>" if due is None else f"<Watchdog: ends the process in {due - monotonic():.1f} s>"

    def arm(self, seconds: float) -> None:
        """End the process in some seconds, unless it is due before."""
        due = monotonic() + seconds
        if self._due is None or due < self._due:
            self._due = due
            signal.setitimer(signal.ITIMER_REAL, seconds)
            os.write(self._writer, b"a")

    def close(self) -> None:
        """Let the process live."""
        if self._due is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _watch(self) -> None:
        while True:
            timeout = None if self._due is None else max(0.0, self._due - ALARM_SECONDS - monotonic())
            if not select.select([self._reader], [], [], timeout)[0]:
                _give_up()
            if not os.read(self._reader, 1):
                return


def _give_up() -> None:
    os.write(sys.stderr.fileno(), b"arraymill: the end hangs, so the process ends without it. Where it hangs:\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(ExitCode.STUCK)
