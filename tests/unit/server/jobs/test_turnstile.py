"""Waits for a turn, and their ends."""

from __future__ import annotations

import asyncio

import pytest
from patience import turns

from arraymill_server.jobs.turnstile import Turnstile


class Gate:
    """A turnstile, and who came through."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.through: list[str] = []
        self.passed_on = 0

    async def come(self, client: str, cost: int = 1) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._wait(client, cost))
        await turns(1)
        return task

    async def let(self, count: int) -> list[bool]:
        let = [self.turnstile.let_through() for _ in range(count)]
        await turns(2)
        return let

    async def _wait(self, client: str, cost: int) -> None:
        await self.turnstile.wait(client, cost, self._pass_on)
        self.through.append(client)

    def _pass_on(self) -> None:
        self.passed_on += 1
        self.turnstile.let_through()


async def test_clients_come_through_in_turn() -> None:
    gate = Gate()
    for client, cost in (("a", 2), ("a", 2), ("b", 2), ("c", 5)):
        await gate.come(client, cost)
    assert repr(gate.turnstile) == "<Turnstile 4 waiting>"
    assert await gate.let(5) == [True] * 4 + [False]
    assert gate.through == ["a", "b", "a", "c"]
    assert len(gate.turnstile) == 0


async def test_who_gives_up_leaves_nothing_behind() -> None:
    gate = Gate()
    first, second = await gate.come("a"), await gate.come("b")
    first.cancel()
    await turns(2)
    assert repr(gate.turnstile) == "<Turnstile 1 waiting>"
    assert await gate.let(1) == [True]
    assert (gate.through, gate.passed_on) == (["b"], 0)
    await second


@pytest.mark.parametrize("others", [0, 1])
async def test_nobody_is_let_through_who_gave_up_in_this_very_turn_of_the_loop(others: int) -> None:
    gate = Gate()
    gone = await gate.come("a")
    waiting = [await gate.come("b") for _ in range(others)]
    gone.cancel()
    assert gate.turnstile.let_through() == bool(others)
    await asyncio.gather(gone, *waiting, return_exceptions=True)
    assert gate.through == ["b"] * others
    assert gate.passed_on == 0


async def test_who_gives_up_just_when_its_turn_has_come_passes_it_on() -> None:
    gate = Gate()
    gone, waiting = await gate.come("a"), await gate.come("b")
    assert gate.turnstile.let_through()
    gone.cancel()
    await waiting
    assert (gate.through, gate.passed_on) == (["b"], 1)
    assert gone.cancelled()
    assert len(gate.turnstile) == 0
