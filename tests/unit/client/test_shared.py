"""Work that several callers wait for ends with the last of them."""

from __future__ import annotations

import asyncio

import pytest

from arraymill._shared import Shared


class Work:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> int:
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return 7


async def waiting(shared: Shared[int], count: int) -> list[asyncio.Task[int]]:
    waiters = [asyncio.create_task(shared.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return waiters


async def test_all_get_the_answer() -> None:
    work = Work()
    shared = Shared(work.run())
    waiters = await waiting(shared, 3)
    assert not any(waiter.done() for waiter in waiters)
    work.end.set()
    assert await asyncio.gather(*waiters) == [7, 7, 7]
    assert shared.is_done
    assert not shared.has_failed
    assert await shared.wait() == 7


async def test_who_leaves_does_not_end_the_work_of_the_others() -> None:
    work = Work()
    first, second = await waiting(shared := Shared(work.run()), 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.end.set()
    assert await second == 7
    assert not shared.has_failed


async def test_the_last_who_leaves_ends_the_work() -> None:
    work = Work()
    shared = Shared(work.run())
    for waiter in await waiting(shared, 2):
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert work.was_cancelled
    assert shared.is_done
    assert shared.has_failed


async def test_work_that_is_being_cancelled_has_failed_already() -> None:
    stubborn = asyncio.Event()

    async def run() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await stubborn.wait()
        return 0

    shared = Shared(run())
    (waiter,) = await waiting(shared, 1)
    waiter.cancel()
    await asyncio.sleep(0)
    assert shared.has_failed
    assert not shared.is_done
    stubborn.set()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_errors_reach_everybody_and_are_no_secret_when_nobody_waits() -> None:
    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError("lost")

    shared = Shared(fail())
    waiters = await waiting(shared, 2)
    for waiter in waiters:
        with pytest.raises(LookupError, match="lost"):
            await waiter
    assert shared.has_failed

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    alone = Shared(fail())
    await asyncio.sleep(0.01)
    del alone
    assert complaints == []


async def test_cancelling_the_work_reaches_everybody() -> None:
    work = Work()
    shared = Shared(work.run())
    (waiter,) = await waiting(shared, 1)
    await shared.cancel()
    await shared.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert work.was_cancelled
