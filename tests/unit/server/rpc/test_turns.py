"""Turns at the event loop."""

from __future__ import annotations

import asyncio

import pytest

from arraymill_server.rpc.turns import LEAST_COST, Turns


class Bench:
    """Jobs that note when they begin."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.news = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.may_end = asyncio.Event()

    def come(self, client: str, nbytes: int = 0) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._job(client, nbytes))
        self.tasks.append(task)
        return task

    async def _job(self, client: str, nbytes: int) -> None:
        async with self.turns.taken(client, nbytes):
            self.begun.append(client)
            self.news.set()
            await self.may_end.wait()

    async def end(self) -> list[str]:
        self.may_end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.begun


async def turns_of_the_loop(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_newcomer_does_not_wait_behind_a_backlog() -> None:
    bench = Bench(Turns(slots=1, rest_turns=2))
    for _ in range(10):
        bench.come("much")
    await turns_of_the_loop(20)
    assert repr(bench.turns) == "<Turns: 0 slots free, 9 waiting>"
    bench.come("little")
    begun = await bench.end()
    assert begun.index("little") <= 2
    assert len(begun) == 11
    assert repr(bench.turns) == "<Turns: 1 slots free, 0 waiting>"


async def test_turns_are_weighted_by_bytes() -> None:
    bench = Bench(Turns(slots=1, rest_turns=0))
    bench.come("first")
    await turns_of_the_loop(1)
    for _ in range(4):
        bench.come("large", 4 * LEAST_COST)
    for _ in range(16):
        bench.come("small", LEAST_COST)
    begun = await bench.end()
    assert begun[1:11].count("small") == 8
    assert begun[1:11].count("large") == 2


async def test_after_a_begin_calls_are_taken_in_first() -> None:
    bench = Bench(Turns(slots=4, rest_turns=8))
    bench.come("much")
    bench.come("much")
    await turns_of_the_loop(4)
    assert bench.begun == ["much"]
    bench.come("little")
    await turns_of_the_loop(40)
    assert sorted(bench.begun) == ["little", "much", "much"]
    await bench.end()


async def test_a_long_job_gives_its_slot_to_others() -> None:
    bench = Bench(Turns(slots=1, hold_seconds=0.01))
    bench.come("long")
    await bench.news.wait()
    bench.news.clear()
    bench.come("short")
    await asyncio.wait_for(bench.news.wait(), 20)
    assert bench.begun == ["long", "short"]
    await bench.end()
    assert repr(bench.turns) == "<Turns: 1 slots free, 0 waiting>", "a slot is given back once"


@pytest.mark.parametrize("when", ["while it waits", "when its turn has come"])
async def test_a_wait_that_is_cancelled_gives_its_turn_up(when: str) -> None:
    bench = Bench(Turns(slots=1, rest_turns=0))
    first = bench.come("a")
    await turns_of_the_loop(2)
    second, third = bench.come("b"), bench.come("c")
    await turns_of_the_loop(2)
    if when == "when its turn has come":
        first.cancel()
        await turns_of_the_loop(1)
    second.cancel()
    await turns_of_the_loop(4)
    assert second.cancelled()
    bench.may_end.set()
    await third
    assert bench.begun == ["a", "c"]
    await bench.end()
    assert repr(bench.turns) == "<Turns: 1 slots free, 0 waiting>"
