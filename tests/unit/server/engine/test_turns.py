from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.engine.turns import Entry, Turns
from arraymill_server.testing.faults import write_task

TASK = write_task(0, 0)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def queue(turns: Turns, loop: asyncio.AbstractEventLoop, jobs: str) -> list[Entry]:
    entries = [Entry(number, job, TASK, loop.create_future(), b"") for number, job in enumerate(jobs)]
    for entry in entries:
        turns.push(entry)
    return entries


def popped(turns: Turns) -> list[Entry]:
    return list(iter(turns.pop, None))


@given(st.text("abc", max_size=20))
def test_jobs_take_turns_and_keep_their_order(loop: asyncio.AbstractEventLoop, jobs: str) -> None:
    turns = Turns()
    entries = queue(turns, loop, jobs)
    assert len(turns) == len(jobs)
    nth = {job: count() for job in jobs}
    first = {job: jobs.index(job) for job in jobs}
    rounds = {entry.task_id: (next(nth[entry.job]), first[entry.job]) for entry in entries}
    assert popped(turns) == sorted(entries, key=lambda entry: rounds[entry.task_id])
    assert len(turns) == 0


def test_an_entry_can_have_its_turn_back(loop: asyncio.AbstractEventLoop) -> None:
    turns = Turns()
    queue(turns, loop, "aab")
    first = turns.pop()
    assert first is not None
    turns.push_front(first)
    assert [(entry.job, entry.task_id) for entry in popped(turns)] == [("b", 2), ("a", 0), ("a", 1)]


def test_cancelled_entries_are_passed_over(loop: asyncio.AbstractEventLoop) -> None:
    turns = Turns()
    entries = queue(turns, loop, "aba")
    for entry in entries[:2]:
        entry.future.cancel()
    assert turns.pop() is entries[2]
    assert turns.pop() is None
    assert len(turns) == 0


def test_a_job_can_be_dropped(loop: asyncio.AbstractEventLoop) -> None:
    turns = Turns()
    entries = queue(turns, loop, "abab")
    assert turns.drop("b") == [entries[1], entries[3]]
    assert turns.drop("b") == []
    assert len(turns) == 2
    assert popped(turns) == [entries[0], entries[2]]


def test_everything_can_be_dropped(loop: asyncio.AbstractEventLoop) -> None:
    turns = Turns()
    entries = queue(turns, loop, "abab")
    assert sorted(turns.clear(), key=lambda entry: entry.task_id) == entries
    assert (turns.pop(), len(turns)) == (None, 0)
