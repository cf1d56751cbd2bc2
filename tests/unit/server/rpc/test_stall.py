"""The clock of a client that the server waits for."""

from __future__ import annotations

import asyncio

import pytest

from arraymill_proto.errors import DeadlineError
from arraymill_server.rpc.stall import LEAST_RATE, Stall


async def test_it_expires_when_the_client_does_not_move() -> None:
    stall = Stall(0.02, lambda: "owes a frame")
    assert repr(stall) == "<Stall of 0.02 s: stands>"
    stall.restart()
    assert repr(stall) == "<Stall of 0.02 s: runs>"
    with pytest.raises(DeadlineError, match=r"^the client owes a frame and did not move for 0\.02 s"):
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


async def test_a_trickle_ends() -> None:
    loop = asyncio.get_running_loop()
    stall = Stall(0.1, lambda: "owes a frame")
    begin = loop.time()
    stall.restart()
    while not stall.expired.done():
        await asyncio.sleep(0.01)
        stall.moved(1)
    with pytest.raises(DeadlineError, match=r"owes a frame and moved too little.*4,096 bytes in a second"):
        stall.expired.result()
    assert loop.time() >= begin + 0.4
    stall.close()


async def test_whoever_moves_enough_may_take_for_ever() -> None:
    loop = asyncio.get_running_loop()
    stall = Stall(1.0, lambda: "owes a frame")
    begin = last = loop.time()
    stall.moved(1 << 30)  # what was done before gives no credit for later
    while loop.time() < begin + 2.2:
        await asyncio.sleep(0.005)
        now = loop.time()
        stall.moved(int(2 * LEAST_RATE * (now - last)))
        last = now
    assert not stall.expired.done()
    while not stall.expired.done():
        await asyncio.sleep(0.005)
        stall.moved(1)
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
