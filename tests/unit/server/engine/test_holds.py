from __future__ import annotations

import asyncio

import pytest

from arraymill_server.engine.holds import Holds


@pytest.fixture
def holds() -> Holds:
    return Holds()


async def waiting(holds: Holds, job: str) -> asyncio.Task[None]:
    task = asyncio.create_task(holds.settled(job))
    await asyncio.sleep(0)
    return task


async def test_a_job_is_settled_with_its_last_task(holds: Holds) -> None:
    for _ in range(2):
        holds.take("job")
    holds.take("other")
    assert holds.end("job")
    waits = [await waiting(holds, "job"), await waiting(holds, "job")]
    holds.give("job")
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    holds.give("job")
    await asyncio.gather(*waits)
    assert holds.fence_of("job") is None
    assert len(holds) == 1


async def test_a_job_without_tasks_is_settled(holds: Holds) -> None:
    assert not holds.end("job")
    await holds.settled("job")
    assert holds.fence_of("job") is None


async def test_only_a_job_that_has_ended_is_ending(holds: Holds) -> None:
    holds.take("job")
    assert not holds.is_ending("job")
    holds.end("job")
    assert holds.is_ending("job")


async def test_a_cancelled_wait_disturbs_nobody(holds: Holds) -> None:
    holds.take("job")
    first, second = await waiting(holds, "job"), await waiting(holds, "job")
    first.cancel()
    await asyncio.sleep(0)
    holds.give("job")
    await second


async def test_a_fenced_task_settles_its_job_but_keeps_its_memory(holds: Holds) -> None:
    for _ in range(3):
        holds.take("job")
    wait = await waiting(holds, "job")
    holds.give("job")
    holds.fence("job")
    await asyncio.sleep(0)
    assert not wait.done(), "one task is left that will end"
    holds.give("job")
    await wait
    await holds.settled("job")
    fence = holds.fence_of("job")
    assert fence is not None
    assert fence is holds.fence_of("job")
    assert not fence.done()
    holds.give("job", was_fenced=True)
    assert fence.done()
    assert len(holds) == 0


async def test_a_fence_falls_with_the_last_of_several_workers(holds: Holds) -> None:
    for _ in range(2):
        holds.take("job")
        holds.fence("job")
    fence = holds.fence_of("job")
    assert fence is not None
    holds.give("job", was_fenced=True)
    await asyncio.sleep(0)
    assert not fence.done()
    await holds.settled("job")
    holds.give("job", was_fenced=True)
    assert fence.done()


async def test_a_confirmed_end_leaves_what_another_worker_holds(holds: Holds) -> None:
    for _ in range(2):
        holds.take("job")
    holds.fence("job")
    holds.give("job", was_fenced=True)
    wait = await waiting(holds, "job")
    assert not wait.done()
    holds.give("job")
    await wait
