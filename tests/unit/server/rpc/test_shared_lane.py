"""One job's ranges in memory that its client shares, and what becomes of its workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest_asyncio
from memory_lane import PAGE, budget_of, is_free, served
from patience import until

from arraymill_proto.v1 import memory_pb2 as pb
from arraymill_server.jobs.exchange import Outgoing
from arraymill_server.plan.model import Wanted
from arraymill_server.rpc.memory_session import Session
from arraymill_server.rpc.shared import StagingLease
from arraymill_server.rpc.shared_lane import SharedLane

Sides: TypeAlias = list[Any]
"""A session and its client."""
STAGING = 4 * PAGE


class Owner:
    """An exchange that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def hears(self, count: int) -> None:
        await until(lambda: len(self.told) == count)

    def shared_filled(self, want: int) -> None:
        self.told.append(("filled", want))

    def moved(self, nbytes: int) -> None:
        """Of what is sent."""

    def sent(self, outgoing: Outgoing, token: int) -> None:
        self.told.append(("sent", token))

    def shared_failed(self, error: Exception) -> None:
        self.told.append(type(error).__name__)

    def shared_lost(self, unsent: list[tuple[Outgoing, int]]) -> None:
        self.told.append(("lost", [token for _, token in unsent]))


@pytest_asyncio.fixture
async def sides() -> AsyncIterator[Sides]:
    """A session and its client; nothing of theirs is left."""
    budget = budget_of(16 * PAGE)
    async with served(budget, STAGING) as sides:
        both = list(sides)
        yield both
        both.clear()  # pytest holds the fixture longer
    await until(lambda: is_free(budget))


def is_whole(session: Session) -> bool:
    """Whether nobody has a workspace."""
    lease = session.staging.lease(STAGING, STAGING, "a look")
    if lease is not None:
        lease.release()
    return lease is not None


def begun(session: Session, owner: Owner) -> tuple[SharedLane, StagingLease]:
    """A job that runs there."""
    lane = SharedLane(session)
    lease = lane.lease(PAGE, 2 * PAGE, "job")
    assert lease is not None
    lane.begin(owner)
    assert lane.is_open
    return lane, lease


def ask(lane: SharedLane, lease: StagingLease, want: int) -> None:
    lane.fill(want, Wanted(0, 8 * want, 8, (0,)), lease.address + 8 * want)


def offer(lane: SharedLane, lease: StagingLease, token: int) -> None:
    lane.take(Outgoing((0,), 0, memoryview(bytes(8)), lease.address), token)


async def test_ranges_go_and_are_answered(sides: Sides) -> None:
    session, client = sides
    owner = Owner()
    lane, lease = begun(session, owner)
    ask(lane, lease, 3)
    offer(lane, lease, 21)
    assert repr(lane) == "<SharedLane open: 1 results offered>"
    fill, take = (await client.heard()).fill, (await client.heard()).take
    assert fill == pb.Fill(job=lane.number, want=3, index=0, offset=24, length=8, order=[0], address=24)
    assert take == pb.Take(job=lane.number, range=1, outputs=[0], offset=0, length=8, address=0)
    await client.say(filled=pb.Filled(job=fill.job, want=3))
    await client.say(taken=pb.Taken(job=fill.job, range=2))  # it was not offered
    await client.say(taken=pb.Taken(job=fill.job, range=1))
    await client.say(taken=pb.Taken(job=fill.job, range=1))  # once more
    await client.say(filled=pb.Filled(job=fill.job + 1, want=3))  # no such job
    await until(lambda: not lane.is_sending)
    assert owner.told == [("filled", 3), ("sent", 21)]
    lane.close()
    lane.close()
    assert not lane.is_open
    lease.release()
    assert is_whole(session)


async def test_a_job_without_room_there_goes_elsewhere(sides: Sides) -> None:
    session, _ = sides
    lane = SharedLane(session)
    assert lane.lease(STAGING + 1, STAGING + 1, "job") is None
    lane.begin(Owner())
    assert (lane.is_open, lane.number) == (False, 0)
    lane.close()


async def test_a_job_that_ends_early_keeps_its_workspace_until_the_client_has_left(sides: Sides) -> None:
    """The client may just be about to write there."""
    session, client = sides
    for answered, is_left in (([], False), ([1], False), ([1, 2], True)):
        owner = Owner()
        lane, lease = begun(session, owner)
        for want in (1, 2):
            ask(lane, lease, want)
            await client.heard()
        for want in answered:
            await client.say(filled=pb.Filled(job=lane.number, want=want))
        await owner.hears(len(answered))
        number = lane.number
        lane.close()
        lease.release()
        assert is_whole(session) == is_left
        if not is_left:
            assert (await client.heard()).ended.job == number
            await client.say(left=pb.Left(job=number + 1))  # nobody waits for that
            await client.say(left=pb.Left(job=number))
            await until(lambda: is_whole(session))
            await client.say(left=pb.Left(job=number))
    lane, lease = begun(session, Owner())
    offer(lane, lease, 1)
    lane.close()
    lease.release()
    assert not is_whole(session), "the client may just read it"


async def test_a_client_that_goes_leaves_all_jobs(sides: Sides) -> None:
    session, client = sides
    owner = Owner()
    ended, first = begun(session, Owner())
    ask(ended, first, 1)
    ended.close()
    first.release()
    lane, lease = begun(session, owner)
    ask(lane, lease, 1)
    offer(lane, lease, 21)
    offer(lane, lease, 22)
    client.sock.shutdown(2)
    await until(lambda: bool(owner.told))
    assert owner.told == [("lost", [21, 22])]
    assert (lane.is_open, lane.is_sending) == (False, False)
    assert lane.lease(PAGE, PAGE, "another") is None
    lane.close()
    lease.release()


async def test_a_job_hears_that_its_client_says_what_it_must_not(sides: Sides) -> None:
    session, client = sides
    owner = Owner()
    lane, lease = begun(session, owner)
    await client.say(release=pb.Release(segment=12345))
    assert await client.is_ended()
    await until(lambda: len(owner.told) == 2)
    assert owner.told == ["ArrayNotFoundError", ("lost", [])]
    lane.close()
    lease.release()
