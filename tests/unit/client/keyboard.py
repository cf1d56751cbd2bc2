"""The keyboard of tests."""

from __future__ import annotations

import signal
import threading


def press_ctrl_c(after: float) -> None:
    """Interrupt the main thread, as a terminal does."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(after, signal.pthread_kill, [main, signal.SIGINT]).start()
