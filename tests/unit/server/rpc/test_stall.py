"""The clock of a client that the server waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from arraymill_proto.errors import DeadlineError
from arraymill_server.rpc.stall import ALLOWANCES, LEAST_RATE, Stall
from arraymill_server.testing.clock import ClockedLoop


async def test_it_expires_when_the_client_does_not_move() -> None:
    stall = Stall(0.02, lambda: "owes a frame")
    assert repr(stall) == "<Stall of 0.02 s: stands>"
    stall.restart()
    assert repr(stall) == "<Stall of 0.02 s: runs>"
    with pytest.raises(DeadlineError, match=r"owes a frame and nothing moved for 0\.02 s, .* send the job again"):
        await stall.expired
    assert repr(stall) == "<Stall of 0.02 s: expired>"
    stall.close()


async def test_every_move_starts_it_anew() -> None:
    loop = asyncio.get_running_loop()
    stall = Stall(0.2, lambda: "owes a frame")
    begin = loop.time()
    stall.restart()
    while loop.time() < begin + 0.3:
        await asyncio.sleep(0.001)
        stall.restart()
    assert not stall.expired.done()
    await asyncio.wait([stall.expired])
    assert loop.time() >= begin + 0.5
    stall.close()


async def test_it_lapses_when_nothing_is_waited_for() -> None:
    duty: list[str | None] = [None]
    stall = Stall(0.01, lambda: duty[0])
    stall.restart()
    await asyncio.sleep(0.03)
    assert repr(stall) == "<Stall of 0.01 s: stands>"
    duty[0] = "owes a frame"
    stall.restart()
    await asyncio.wait([stall.expired])
    stall.close()  # looks at the error: nobody else did


@pytest.fixture
def clocked() -> Iterator[ClockedLoop]:
    """A loop whose time the test moves."""
    loop = ClockedLoop()
    yield loop
    loop.close()
    assert not loop.defects


async def stalling(seconds: float) -> Stall:
    return Stall(seconds, lambda: "owes a frame")


def pass_time(loop: ClockedLoop, stall: Stall, seconds: float, rate: float) -> float:
    """Let a client move bytes at a rate, ten times in a second; return how long it was borne."""
    begin = loop.time()
    while not stall.expired.done() and loop.time() < begin + seconds:
        loop.advance(0.1)
        stall.moved(int(rate / 10))
        loop.settle()
    return loop.time() - begin


def test_a_trickle_ends(clocked: ClockedLoop) -> None:
    stall = clocked.run(stalling(45))
    stall.restart()
    assert pass_time(clocked, stall, 3600, rate=10) == pytest.approx(ALLOWANCES * 45, rel=0.01)
    with pytest.raises(DeadlineError, match=r"owes a frame and moved too little.*4,096 bytes in a second"):
        stall.expired.result()
    stall.close()


def test_whoever_moves_enough_may_take_for_ever(clocked: ClockedLoop) -> None:
    stall = clocked.run(stalling(45))
    stall.moved(1 << 30)  # what was done before gives no credit for later
    assert pass_time(clocked, stall, 3600, rate=1.1 * LEAST_RATE) >= 3600
    assert not stall.expired.done()
    assert pass_time(clocked, stall, 3600, rate=0.5 * LEAST_RATE) == pytest.approx(2 * ALLOWANCES * 45, rel=0.01)
    assert stall.expired.exception() is not None
    stall.close()


async def test_time_in_which_the_client_has_nothing_to_do_does_not_count() -> None:
    duty: list[str | None] = ["owes a frame"]
    stall = Stall(0.05, lambda: duty[0])
    stall.restart()
    duty[0] = None
    stall.moved(1)
    await asyncio.sleep(0.4)
    duty[0] = "owes a frame"
    stall.restart()
    await asyncio.sleep(0.01)
    assert not stall.expired.done()
    stall.close()


async def test_a_closed_one_never_expires() -> None:
    stall = Stall(0.01, lambda: "owes a frame")
    stall.restart()
    stall.close()
    stall.restart()
    assert stall.expired.cancelled()
    assert repr(stall) == "<Stall of 0.01 s: expired>"
