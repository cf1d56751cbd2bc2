from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import zip_longest

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
    """Queue an entry for each letter: the letter is its job, the same letter in lower case its client."""
    entries = [Entry(number, job, TASK, loop.create_future(), b"", job.lower()) for number, job in enumerate(jobs)]
    for entry in entries:
        turns.push(entry)
    return entries


def popped(turns: Turns) -> list[Entry]:
    return list(iter(turns.pop, None))


def in_turn(queues: dict[str, list[Entry]]) -> list[Entry]:
    """Take one from each queue after the other, in the order in which they came."""
    rounds = zip_longest(*queues.values())
    return [entry for entries in rounds for entry in entries if entry is not None]


def grouped(entries: list[Entry], key: Callable[[Entry], str]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


@given(st.text("aAbBc", max_size=20))
def test_clients_take_turns_and_so_do_their_jobs(loop: asyncio.AbstractEventLoop, jobs: str) -> None:
    turns = Turns()
    entries = queue(turns, loop, jobs)
    assert len(turns) == len(jobs)
    of_client = {
        client: in_turn(grouped(own, lambda entry: entry.job))
        for client, own in grouped(entries, lambda entry: entry.client).items()
    }
    assert popped(turns) == in_turn(of_client)
    assert len(turns) == 0


def test_a_client_with_many_jobs_has_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    turns = Turns()
    entries = [Entry(number, f"a{number}", TASK, loop.create_future(), b"", "a") for number in range(100)]
    other = Entry(100, "b", TASK, loop.create_future(), b"", "b")
    for entry in [*entries, other]:
        turns.push(entry)
    assert popped(turns)[:3] == [entries[0], other, entries[1]]


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
