"""A client's connection to the memory socket: what it gets, and what it may not say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from memory_lane import PAGE, RawSession, budget_of, is_free, served
from patience import until

from arraymill_proto.memory import MAX_ALLOCATIONS, MESSAGE_BYTES
from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.rpc import memory_session
from arraymill_server.rpc.shared import Budget

Sides: TypeAlias = list[Any]
"""A session and its client."""
BUDGET = 256 * PAGE


@pytest.fixture
def budget() -> Iterator[Budget]:
    """All of which is free in the end."""
    budget = budget_of(BUDGET)
    yield budget
    assert is_free(budget)


@pytest_asyncio.fixture
async def sides(budget: Budget) -> AsyncIterator[Sides]:
    async with served(budget, 4 * PAGE) as sides:
        both = list(sides)
        yield both
        both.clear()  # pytest holds the fixture longer


async def test_memory_comes_with_the_welcome_and_on_demand(sides: Sides, budget: Budget) -> None:
    session, client = sides
    assert (len(client.secret), client.secret) == (32, session.secret)
    client.staging[:3] = b"abc"
    assert session.staging.segment.memory[:3] == b"abc"
    await client.say(allocate=pb.Allocate(request=77, nbytes=PAGE + 1))
    told = (await client.heard()).segment
    assert (told.request, told.nbytes) == (77, 2 * PAGE)
    mapped = client.mapped(told.nbytes)
    mapped[-1:] = b"z"
    assert session.memory.get(told.segment).segment.memory[-1:] == b"z"
    await client.say(release=pb.Release(segment=told.segment))
    await until(lambda: len(budget.segments) == 1)
    assert repr(session) == f"<Session of <SharedMemory of me: 1 segments of {4 * PAGE:,} bytes>, 0 jobs>"


@pytest.mark.parametrize(
    ("nbytes", "reason"), [(0, "PARAMETER"), (BUDGET + 1, "TOO_LARGE"), ((1 << 64) - 1, "TOO_LARGE")]
)
async def test_refusals_are_answers(sides: Sides, nbytes: int, reason: str) -> None:
    _, client = sides
    await client.say(allocate=pb.Allocate(request=5, nbytes=nbytes))
    refused = (await client.heard()).refused
    assert refused.request == 5
    assert reason in refused.reason
    assert refused.message
    await client.allocated(PAGE)


async def test_staging_memory_is_not_released(sides: Sides) -> None:
    session, client = sides
    await client.say(release=pb.Release(segment=session.staging.segment.number))
    await client.allocated(PAGE)
    assert session.memory.get(session.staging.segment.number)


async def test_a_message_of_a_later_version_is_passed_over(sides: Sides) -> None:
    _, client = sides
    await client.say_bytes(b"\0\0\0\0" + b"\0\0\0\3\xfa\x07\x00")
    await client.allocated(PAGE)


WRONG = {
    "too long": (MESSAGE_BYTES + 1).to_bytes(4, "big"),
    "garbage": b"\0\0\0\x04\xff\xff\xff\xff",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "an unknown segment": b"\0\0\0\x04\x12\x02\x08\x63",
}


@pytest.mark.parametrize("name", WRONG)
async def test_who_says_what_it_must_not_ends_the_session(sides: Sides, name: str) -> None:
    session, client = sides
    await client.say_bytes(WRONG[name])
    await until(lambda: not session.is_open)


async def test_a_flood_of_allocations_ends_the_session(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    session, client = sides
    for number in range(3 * MAX_ALLOCATIONS):
        await client.say(allocate=pb.Allocate(request=number, nbytes=PAGE))
    await until(lambda: not session.is_open)


async def test_as_many_as_may_be_asked_for_at_a_time(sides: Sides) -> None:
    _, client = sides
    for number in range(MAX_ALLOCATIONS):
        await client.say(allocate=pb.Allocate(request=number, nbytes=PAGE))
    told = [(await client.heard()).segment for _ in range(MAX_ALLOCATIONS)]
    assert {segment.request for segment in told} == set(range(MAX_ALLOCATIONS))


async def test_who_does_not_read_is_sent_away(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_session, "MAX_UNREAD", 20)
    session, client = sides
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    asking = asyncio.ensure_future(_ask_for_nothing(client))
    await until(lambda: not session.is_open)
    asking.cancel()
    await asyncio.wait([asking])


async def _ask_for_nothing(client: RawSession) -> None:
    while True:
        await client.say(allocate=pb.Allocate(request=1, nbytes=0))
        await asyncio.sleep(0)


async def test_a_session_that_ends_while_memory_is_made(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(budget, PAGE) as (session, client):
        for number in range(MAX_ALLOCATIONS):
            await client.say(allocate=pb.Allocate(request=number, nbytes=PAGE))
        await until(lambda: bool(session._making))  # pyright: ignore[reportPrivateUsage]
        client.sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: not session.is_open)
    await until(lambda: is_free(budget))
