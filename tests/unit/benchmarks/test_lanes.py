"""A client of each lane, and that none bears the name of another."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytest

import arraymill as am
from suite.lanes import SWITCHES, connect


class Mill:
    """A client whose server shares memory, or has none to share."""

    has_memory = True

    def __init__(self, _: str, **switches: bool) -> None:
        self.shares = self.has_memory and switches.get("shared", True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing."""

    def empty(self, length: int) -> Any:
        """Return an array of its own, or a view of memory."""
        return np.zeros(8 * length, np.uint8).view(float) if self.shares else np.empty(length)


@pytest.mark.parametrize("lane", SWITCHES)
def test_a_client_of_each_lane_is_made(monkeypatch: pytest.MonkeyPatch, lane: str) -> None:
    monkeypatch.setattr(am, "Client", Mill)
    with connect("host:1", lane) as mill:
        assert mill is not None


def test_without_shared_memory_there_is_no_same_host_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(am, "Client", Mill)
    monkeypatch.setattr(Mill, "has_memory", False)
    with pytest.raises(RuntimeError, match="lane 'memory' shares no memory"), connect("host:1", "memory"):
        pass
    with connect("host:1", "bulk"):
        pass


def test_a_wire_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(am, "Client", Mill)
    monkeypatch.setitem(SWITCHES, "bulk", {})
    with pytest.raises(RuntimeError, match="lane 'bulk' shares memory"), connect("host:1", "bulk"):
        pass
