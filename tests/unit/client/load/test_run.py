"""A run that is interrupted goes on to its report."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, cast

import pytest

from arraymill.load._plan import read_plan
from arraymill.load._run import End, Run
from arraymill.load._view import QuietView


class Fleet:
    """Counts stops."""

    stops = 0

    def stop(self) -> None:
        self.stops += 1


@pytest.mark.parametrize(("signals", "end"), [("II", End.INTERRUPTED), ("TI", End.TERMINATED), ("IT", End.INTERRUPTED)])
async def test_signals_after_the_first_change_nothing(signals: str, end: End) -> None:
    run, fleet = Run(read_plan({"mix": "sum:1KiB"}, {}), "localhost:9", QuietView()), Fleet()
    cast("Any", run)._take_signals(fleet)
    loop = asyncio.get_running_loop()
    try:
        for letter in signals:
            os.kill(os.getpid(), signal.SIGINT if letter == "I" else signal.SIGTERM)
            await asyncio.sleep(0.01)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
    assert (run.end, fleet.stops) == (end, 1)
