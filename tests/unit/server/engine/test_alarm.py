from __future__ import annotations

import asyncio

from arraymill_server.engine.alarm import Alarm


class Bell:
    def __init__(self) -> None:
        self.rang = asyncio.Event()
        self.times = 0

    def ring(self) -> None:
        self.times += 1
        self.rang.set()


async def test_it_rings_once_when_the_time_is_over() -> None:
    bell = Bell()
    alarm = Alarm(bell.ring)
    alarm.set(0.01)
    before = alarm.is_due
    await bell.rang.wait()
    assert (before, alarm.is_due) == (False, True)
    await asyncio.sleep(0.03)
    assert (bell.times, alarm.seconds) == (1, 0.01)


async def test_a_later_end_moves_the_bell() -> None:
    bell = Bell()
    alarm = Alarm(bell.ring)
    alarm.set(0.01)
    alarm.set(0.1)
    await asyncio.sleep(0.05)
    assert not bell.times
    await bell.rang.wait()
    assert alarm.is_due


async def test_an_earlier_end_is_not_late() -> None:
    bell = Bell()
    alarm = Alarm(bell.ring)
    alarm.set(3600.0)
    alarm.set(0.01)
    async with asyncio.timeout(5):
        await bell.rang.wait()


async def test_a_cleared_alarm_is_silent_and_can_be_set_again() -> None:
    bell = Bell()
    alarm = Alarm(bell.ring)
    alarm.set(0.01)
    alarm.clear()
    assert repr(alarm) == "<Alarm off>"
    await asyncio.sleep(0.03)
    assert (bell.times, alarm.is_due) == (0, False)
    alarm.set(0.01)
    await bell.rang.wait()


async def test_a_stopped_alarm_is_silent() -> None:
    bell = Bell()
    alarm = Alarm(bell.ring)
    alarm.set(0.01)
    alarm.stop()
    await asyncio.sleep(0.03)
    assert not bell.times
