from __future__ import annotations

from collections.abc import Iterator

import pytest

from arraymill_server.engine.alarm import Alarm
from arraymill_server.testing.clock import ClockedLoop


class Bell:
    """An alarm on a clock that a test moves, and how often it has rung."""

    def __init__(self) -> None:
        self.times = 0
        self.loop = ClockedLoop()
        self.alarm = self.loop.run(self._make())

    async def _make(self) -> Alarm:
        return Alarm(self._ring)

    def _ring(self) -> None:
        self.times += 1

    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.loop.settle()


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    assert not bell.loop.defects
    bell.loop.close()


def test_it_rings_once_when_the_time_is_over(bell: Bell) -> None:
    bell.alarm.set(1.0)
    bell.wait(0.9)
    assert (bell.times, bell.alarm.is_due) == (0, False)
    bell.wait(0.2)
    assert (bell.times, bell.alarm.is_due) == (1, True)
    bell.wait(5.0)
    assert (bell.times, bell.alarm.seconds) == (1, 1.0)


def test_a_later_end_moves_the_bell(bell: Bell) -> None:
    bell.alarm.set(1.0)
    bell.alarm.set(10.0)
    bell.wait(5.0)
    assert not bell.times
    assert repr(bell.alarm) == "<Alarm in 5.000 s>"
    bell.wait(5.0)
    assert (bell.times, bell.alarm.is_due) == (1, True)


def test_an_earlier_end_is_not_late(bell: Bell) -> None:
    bell.alarm.set(3600.0)
    bell.alarm.set(1.0)
    bell.wait(1.0)
    assert bell.times == 1


def test_a_cleared_alarm_is_silent_and_can_be_set_again(bell: Bell) -> None:
    bell.alarm.set(1.0)
    bell.alarm.clear()
    assert repr(bell.alarm) == "<Alarm off>"
    bell.wait(3.0)
    assert (bell.times, bell.alarm.is_due) == (0, False)
    bell.alarm.set(1.0)
    bell.wait(1.0)
    assert bell.times == 1


def test_a_stopped_alarm_is_silent(bell: Bell) -> None:
    bell.alarm.set(1.0)
    bell.alarm.stop()
    bell.wait(3.0)
    assert not bell.times
