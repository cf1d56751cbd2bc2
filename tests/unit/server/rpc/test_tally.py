"""Many events, few lines of the log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from arraymill_server.rpc import tally as tally_module
from arraymill_server.rpc.tally import NOTE_SECONDS, Tally


def test_the_first_of_many_is_told_and_the_others_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(tally_module, "monotonic", lambda: now)
    tally = Tally("jobs cancelled", limit=7)
    with capture_logs() as logs:
        for _ in range(1000):
            tally.add()
        assert repr(tally) == "<Tally of jobs cancelled: 999 since the last line>"
        now = NOTE_SECONDS
        tally.add()
    told = [(entry["event"], entry["count"], entry["limit"], entry["log_level"]) for entry in logs]
    assert told == [("jobs cancelled", 1, 7, "warning"), ("jobs cancelled", 1000, 7, "warning")]
