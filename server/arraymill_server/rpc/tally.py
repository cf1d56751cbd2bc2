"""One line of the log for many events: there may be thousands in a second, and a line takes a millisecond when busy."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from arraymill_server.log import get_logger

NOTE_SECONDS: Final = 10.0
"""Least time between two lines."""

_log = get_logger(__name__)


class Tally:
    """Counts events of a kind and notes them now and then.

    Args:
        event: What the lines are about.
        fields: What they tell beside the count.
    """

    def __init__(self, event: str, **fields: Any) -> None:
        self._event = event
        self._fields = fields
        self._count = 0
        self._next_note = float("-inf")

    def __repr__(self) -> str:
        return f"<Tally of {self._event}: {self._count} since the last line>"

    def add(self) -> None:
        """Count an event; the first one is noted at once."""
        self._count += 1
        if monotonic() >= self._next_note:
            _log.warning(self._event, count=self._count, **self._fields)
            self._count, self._next_note = 0, monotonic() + NOTE_SECONDS
