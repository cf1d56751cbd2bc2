from __future__ import annotations

import asyncio

from arraymill_server.testing.stacks import task_stacks


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_stacks_tell_where_every_task_waits() -> None:
    event = asyncio.Event()
    task = asyncio.create_task(wait_for(event), name="the patient one")
    await asyncio.sleep(0)
    told = task_stacks()
    event.set()
    await task
    assert "name='the patient one'" in told
    assert f"  {__file__}:{wait_for.__code__.co_firstlineno + 1} wait_for" in told.splitlines()
    assert "test_stacks_tell_where_every_task_waits" in told, "this task is one of them"
    assert "the patient one" not in task_stacks()
