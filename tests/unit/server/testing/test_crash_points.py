from __future__ import annotations

import os
import signal
from random import Random

import pytest

from arraymill_server.arena.arena import Arena
from arraymill_server.testing import crash_points
from arraymill_server.testing.crash_points import POINTS, CrashPoint, arm, crash

SIZE = 1 << 12


@pytest.fixture
def arena() -> Arena:
    return Arena.create(1 << 16)


@pytest.mark.parametrize(("after", "held"), [(False, SIZE), (True, 2 * SIZE)])
def test_a_point_strikes_at_its_call_and_at_no_other(arena: Arena, after: bool, held: int) -> None:
    strikes: list[int] = []

    def strike() -> None:
        strikes.append(sum(lease.size for lease in arena.leases))

    disarm = arm(CrashPoint("memory leased", 2, after), strike)
    try:
        leases = [arena.lease(SIZE, "job") for _ in range(4)]
    finally:
        disarm()
    assert strikes == [held]
    for lease in leases:
        assert lease is not None, "the answer is that of the method"
        lease.release()


@pytest.mark.parametrize("name", POINTS)
def test_every_point_is_a_method_and_can_be_disarmed(name: str) -> None:
    owner, method = crash_points._found(POINTS[name])  # pyright: ignore[reportPrivateUsage]
    before = owner.__dict__[method]
    disarm = arm(CrashPoint(name))
    armed = owner.__dict__[method]
    disarm()
    assert (armed.__wrapped__, armed is before) == (before, False)
    assert owner.__dict__[method] is before


def test_what_is_written_can_be_read() -> None:
    random = Random(1)
    points = {CrashPoint.choose(random, 40) for _ in range(200)}
    assert {CrashPoint.parse(str(point)) for point in points} == points
    assert {point.name for point in points} == set(POINTS)
    assert {point.after for point in points} == {False, True}
    assert all(1 <= point.hits <= 40 for point in points)
    assert (str(CrashPoint("job begun")), str(CrashPoint("job begun", 3, True))) == ("job begun:1", "job begun:3:after")


def test_a_crash_is_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))

    monkeypatch.setattr(os, "kill", kill)
    crash()
    assert killed == [(os.getpid(), signal.SIGKILL)]
