"""A generator follows what it is told, line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from arraymill.load import _generator
from arraymill.load._clients import LoadClient
from arraymill.load._generator import Generator
from arraymill.load._plan import read_plan

PLAN = read_plan({"mix": "sum:1KiB", "duration": "60s", "check": 0, "clients": 2}, {}).document()
PREPARE = {"do": "prepare", "plan": PLAN, "address": "localhost:9", "place": 0, "of": 1}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], asyncio.Event]:
    """What the generator tells, and whether a step is done; its clients need no server."""
    lines, done = list[dict[str, Any]](), asyncio.Event()

    def tell(what: dict[str, Any]) -> None:
        lines.append(what)
        if what["is"] == "done":
            done.set()

    async def connect(clients: Sequence[LoadClient]) -> None:
        pass

    async def run(*arguments: Any) -> Sequence[Any]:
        await asyncio.sleep(0.001)
        return [1.0]

    monkeypatch.setattr(_generator, "tell", tell)
    monkeypatch.setattr(_generator, "connect_all", connect)
    monkeypatch.setattr(LoadClient, "run", run)
    return lines, done


def lines(*told: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in told)


async def test_a_stop_beside_its_step_stops_it(told: tuple[list[dict[str, Any]], asyncio.Event]) -> None:
    answers, done = told
    reader = asyncio.StreamReader()
    following = asyncio.ensure_future(Generator().follow(reader))
    step = {"do": "step", "number": 0, "begin": asyncio.get_running_loop().time(), "warm_up": 0.0, "rate": None}
    reader.feed_data(lines(PREPARE, step, {"do": "stop"}))
    await asyncio.wait_for(done.wait(), 20)
    reader.feed_eof()
    await following
    assert [each["is"] for each in answers] == ["ready", "news", "done"]
    assert answers[-1]["result"]["end"] < 60.0


async def test_it_ends_with_its_lines(told: tuple[list[dict[str, Any]], asyncio.Event]) -> None:
    """A step that is under way is not told of: nobody is there any more."""
    reader = asyncio.StreamReader()
    step = {"do": "step", "number": 0, "begin": asyncio.get_running_loop().time(), "warm_up": 0.0, "rate": 1000.0}
    reader.feed_data(lines(PREPARE, step))
    reader.feed_eof()
    await asyncio.wait_for(Generator().follow(reader), 20)
    assert [each["is"] for each in told[0]] == ["ready"]
