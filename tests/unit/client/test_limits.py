"""Slots in the order of arrival, and deadlines."""

from __future__ import annotations

import asyncio
import math

import pytest

from arraymill._limits import LONGEST_SECONDS, Slots, checked_seconds, within
from arraymill_proto.errors import DeadlineError, ParameterError


async def test_slots_are_taken_in_turn() -> None:
    slots = Slots(2)
    order: list[int] = []
    release = asyncio.Event()

    async def job(number: int) -> None:
        async with slots:
            order.append(number)
            await release.wait()

    jobs = [asyncio.create_task(job(number)) for number in range(5)]
    await asyncio.sleep(0.01)
    assert (order, slots.running, slots.waiting) == ([0, 1], 2, 3)
    jobs[2].cancel()
    release.set()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert (order, slots.running, slots.waiting) == ([0, 1, 3, 4], 0, 0)


async def test_a_job_that_fails_gives_its_slot_back() -> None:
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(LookupError):
            async with slots:
                raise LookupError
    assert (slots.running, slots.waiting) == (0, 0)


async def test_within() -> None:
    async with within(60) as remaining:
        seconds = remaining()
        assert seconds is not None
        assert 0 < seconds <= 60
    for endless in (None, 2 * LONGEST_SECONDS, math.inf):
        async with within(endless) as remaining:
            assert remaining() is None
    with pytest.raises(DeadlineError, match=r"the deadline of 0\.01 s passed"):
        async with within(0.01):
            await asyncio.Event().wait()


async def test_within_lets_other_errors_through() -> None:
    error = DeadlineError("the server's own words")
    with pytest.raises(DeadlineError) as caught:
        async with within(60):
            raise error
    assert caught.value is error
    task = asyncio.ensure_future(_wait_for_ever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _wait_for_ever() -> None:
    async with within(60):
        await asyncio.Event().wait()


@pytest.mark.parametrize("seconds", [None, 1, 0.001, 1e300, float("inf")])
def test_seconds_that_make_sense(seconds: float | None) -> None:
    assert checked_seconds("timeout", seconds) == seconds


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), -float("inf")])
def test_seconds_that_do_not(seconds: float) -> None:
    with pytest.raises(ParameterError, match=f"timeout is {seconds}, it must be more than 0 seconds"):
        checked_seconds("timeout", seconds)
