"""When calls are made again: decided by a clock and dice that the test holds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill._retry import FIRST_PAUSE, LONGEST_PAUSE, Backoff, Retry, is_passing
from arraymill_proto.errors import (
    ERRORS,
    ArraymillError,
    BusyError,
    ConnectionFailedError,
    JobCancelledError,
    Reason,
)

LOST = ConnectionFailedError("lost")


class World:
    """A clock that moves when somebody sleeps, and dice."""

    def __init__(self, dice: float = 0.5) -> None:
        self.now = 1000.0
        self.dice = dice
        self.slept: list[float] = []

    def retry(self, seconds: float = 30.0) -> Retry:
        return Retry(seconds, clock=lambda: self.now, random=lambda: self.dice, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def left(self, seconds: float) -> float:
        """Seconds that remain of a call that began when the world did."""
        return 1000.0 + seconds - self.now


async def failures(world: World, error: ArraymillError, *, seconds: float = 30.0, timeout: float | None = None) -> int:
    """Fail always with an error; return how often it was tried."""
    tries = 0

    async def work(before: int) -> None:
        nonlocal tries
        assert before == tries
        tries += 1
        raise error

    def remaining() -> float | None:
        return None if timeout is None else world.left(timeout)

    with pytest.raises(type(error)) as caught:
        await world.retry(seconds).run(work, remaining, is_passing)
    assert caught.value is error
    return tries


async def test_pauses_double_up_to_the_longest() -> None:
    world = World(dice=1.0)
    await failures(world, LOST)
    doubling = [FIRST_PAUSE * 2**number for number in range(20)]
    expected = [min(pause, LONGEST_PAUSE) for pause in doubling]
    assert world.slept[:-1] == pytest.approx(expected[: len(world.slept) - 1])
    assert sum(world.slept) == pytest.approx(30), "the last attempt is made when the time is over"


async def test_a_pause_is_any_part_of_what_it_may_be() -> None:
    world = World(dice=0.0)
    backoff = Backoff(world.retry(), is_passing)
    assert backoff.pause(LOST) == 0
    world.dice = 0.25
    assert backoff.pause(LOST) == pytest.approx(FIRST_PAUSE * 2 * 0.25)


async def test_the_time_counts_from_the_first_failure_of_a_row() -> None:
    world = World()
    backoff = Backoff(world.retry(10), is_passing)
    assert backoff.pause(LOST) is not None
    world.now += 9.99
    assert backoff.pause(LOST) is not None
    world.now += 0.02
    assert backoff.pause(LOST) is None
    backoff.reset()
    assert backoff.pause(LOST) == pytest.approx(FIRST_PAUSE / 2)
    assert backoff.failures == 1


async def test_a_busy_server_is_asked_when_it_says_for_as_long_as_the_call_may_take() -> None:
    world = World(dice=0.5)
    tries = await failures(world, BusyError("full", retry_after=4), timeout=3600)
    assert all(pause >= 4 for pause in world.slept)
    assert world.slept[0] == pytest.approx(4 + FIRST_PAUSE / 2)
    assert world.slept[-1] == pytest.approx(4 + LONGEST_PAUSE / 2)
    assert 3590 < world.now - 1000 <= 3600
    assert tries == len(world.slept) + 1


async def test_no_pause_outlasts_the_call() -> None:
    world = World(dice=0.5)
    assert await failures(world, BusyError("full", retry_after=60), timeout=30) == 1
    assert not world.slept
    await failures(world, LOST, timeout=5)
    assert world.now - 1000 < 5


async def test_memory_that_only_a_deletion_frees_is_not_waited_for_that_long() -> None:
    world = World()
    await failures(world, BusyError("full", retry_after=1, budget_bytes=7), timeout=3600)
    assert world.now - 1000 == pytest.approx(30)


async def test_nothing_is_tried_again_by_a_client_that_does_not_want_it() -> None:
    world = World()
    assert await failures(world, LOST, seconds=0) == 1
    assert await failures(world, BusyError("full"), seconds=0) == 1


async def test_what_succeeds_later() -> None:
    world = World()
    answers: list[ArraymillError | str] = [LOST, BusyError("full", retry_after=2), "done"]

    async def work(before: int) -> str:
        answer = answers[before]
        if isinstance(answer, ArraymillError):
            raise answer
        return answer

    assert await world.retry().run(work, lambda: None, is_passing) == "done"
    assert len(world.slept) == 2


@pytest.mark.parametrize("reason", Reason)
def test_which_reasons_pass(reason: Reason) -> None:
    passing = {Reason.BUSY, Reason.UNAVAILABLE, Reason.SHUTTING_DOWN, Reason.CORRUPTED}
    assert is_passing(ERRORS[reason]("what happened", reason=reason)) == (reason in passing)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionFailedError("x", grpc_status="UNAVAILABLE"), True),
        (ConnectionFailedError("x", grpc_status="INTERNAL"), True),
        (ConnectionFailedError("x", grpc_status="PERMISSION_DENIED"), False),
        (ConnectionFailedError("x", grpc_status="UNAUTHENTICATED"), False),
        (BusyError("a message that is too long", grpc_status="RESOURCE_EXHAUSTED"), False),
        (JobCancelledError("by gRPC", grpc_status="CANCELLED"), True),
        (JobCancelledError("by somebody"), False),
    ],
)
def test_which_statuses_without_a_reason_pass(error: ArraymillError, passes: bool) -> None:
    assert is_passing(error) is passes


@given(
    seconds=st.floats(0.001, 1e6),
    dice=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    told=st.floats(0, 100),
    timeout=st.none() | st.floats(0.001, 1e6),
)
def test_pauses_are_never_longer_than_they_may_be(
    seconds: float, dice: list[float], told: float, timeout: float | None
) -> None:
    world = World()
    lost, busy = Backoff(world.retry(seconds), is_passing), Backoff(world.retry(seconds), is_passing)
    for number in dice:
        world.dice = number
        left = None if timeout is None else max(world.left(timeout), 0.0)
        pause = lost.pause(LOST, left)
        if pause is not None:
            assert 0 <= pause <= min(LONGEST_PAUSE, 1000 + seconds - world.now)
            assert left is None or pause < left
        pause = busy.pause(BusyError("full", retry_after=told), left)
        if pause is not None:
            assert told <= pause <= told + LONGEST_PAUSE
            assert left is None or pause < left
        world.now += 1
