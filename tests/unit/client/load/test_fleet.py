"""The generators of a run: one that dies or does not answer leaves the results of the others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from arraymill.load import _fleet
from arraymill.load._fleet import Fleet, GeneratorError


class Member:
    """A generator that ends a step when it is told so, or dies, or does not listen."""

    def __init__(self, *, dies: bool = False, listens: bool = True) -> None:
        self._dies = dies
        self._listens = listens
        self._end = asyncio.get_running_loop().create_future()
        self.told = list[str]()
        self.has_answered = False

    def say(self, what: dict[str, Any]) -> None:
        self.told.append(what["do"])
        if what["do"] == "stop" and self._listens and not self._end.done():
            self._end.set_result(None)

    def kill(self) -> None:
        self._end.set_exception(GeneratorError("killed"))

    async def answer(self) -> dict[str, Any]:
        if self._dies:
            raise GeneratorError("out of memory")
        await self._end
        self.has_answered = True
        return {"result": {"jobs": 1}}


def fleet(*members: Member) -> Fleet:
    return Fleet(cast("Any", members))


async def test_a_generator_that_dies_stops_the_others() -> None:
    one, other = Member(dies=True), Member()
    made = fleet(one, other)
    assert await asyncio.wait_for(made.step(0, 0.0, 0.0, None), 5) == [{"jobs": 1}]
    assert not made.is_whole
    assert other.told == ["step", "stop"]


async def test_one_that_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fleet, "STOP_SECONDS", 0.02)
    made = fleet(Member(listens=False), Member())
    asyncio.get_running_loop().call_soon(made.stop)
    assert await asyncio.wait_for(made.step(0, 0.0, 0.0, None), 5) == [{"jobs": 1}]
    assert not made.is_whole


async def test_a_stop_comes_after_the_step() -> None:
    member = Member()
    made = fleet(member)
    asyncio.get_running_loop().call_soon(made.stop)
    async with asyncio.timeout(5):
        await made.step(0, 0.0, 0.0, None)
    assert member.told == ["step", "stop"]
    assert made.is_whole
