"""Where jobs are remembered: by id, by key, in order, with a journal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.jobs.life import Event, JobEvent, Life, State
from arraymill_server.jobs.storage import MemoryStorage, Storage
from arraymill_server.jobs.submitted import Submission, SubmittedJob


def job_of(number: int, key: str = "") -> SubmittedJob:
    id = f"j{number}"
    return SubmittedJob(id, number, Submission("a", b"", key), 0.0, None, Life(id, 0.0))


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def test_a_job_is_found_by_its_id_and_its_key(storage: MemoryStorage) -> None:
    job = job_of(1, "k")
    storage.add(job)
    assert storage.get("j1") is storage.with_key("k") is job
    assert (storage.get("k"), storage.with_key("j1"), storage.get("")) == (None, None, None)
    assert repr(storage) == "<MemoryStorage of 1 jobs>"
    storage.remove(job)
    assert (storage.get("j1"), storage.with_key("k"), storage.after(0, 9)) == (None, None, [])
    storage.remove(job)


def test_a_job_without_a_key_is_not_found_by_none(storage: MemoryStorage) -> None:
    storage.add(job_of(1))
    assert storage.with_key("") is None


def test_a_key_leads_to_the_job_that_came_last(storage: MemoryStorage) -> None:
    first, second = job_of(1, "k"), job_of(2, "k")
    storage.add(first)
    storage.add(second)
    assert storage.with_key("k") is second
    storage.remove(first)
    assert storage.with_key("k") is second, "the key is not that of the job that was removed"
    storage.remove(second)
    storage.add(third := job_of(3, "k"))
    assert storage.with_key("k") is third


def test_a_key_does_not_fall_back_to_an_older_job(storage: MemoryStorage) -> None:
    """It was free when the younger one came."""
    first, second = job_of(1, "k"), job_of(2, "k")
    storage.add(first)
    storage.add(second)
    storage.remove(second)
    assert storage.with_key("k") is None


def test_jobs_in_the_order_of_their_submission(storage: MemoryStorage) -> None:
    jobs = [job_of(number) for number in range(1, 6)]
    for job in jobs:
        storage.add(job)
    assert storage.after(0, 2) == jobs[:2]
    storage.remove(jobs[1])
    assert storage.after(2, 2) == jobs[2:4], "a number counts when its job has gone"
    assert storage.after(4, 9) == jobs[4:]
    assert storage.after(5, 9) == storage.after(99, 9) == storage.after(0, 0) == []


def test_the_journal_gets_every_event() -> None:
    journal: list[JobEvent] = []
    events = [JobEvent("j1", event, 1.0, State.QUEUED) for event in (Event.SUBMIT, Event.ADMIT)]
    storage = MemoryStorage(journal.append)
    for event in events:
        storage.note(event)
    assert journal == events
    MemoryStorage().note(events[0])  # nobody reads it


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from(["", "one", "two"])), max_size=30)


@given(STEPS)
def test_whatever_comes_and_goes(steps: list[tuple[bool, int, str]]) -> None:
    """Against a list that is searched anew for every question."""
    storage: Storage = MemoryStorage()
    there, holders = list[SubmittedJob](), dict[str, SubmittedJob]()
    for number, (is_new, place, key) in enumerate(steps, start=1):
        if is_new or not there:
            job = job_of(number, key)
            storage.add(job)
            there.append(job)
            holders[key] = job
        else:
            storage.remove(there.pop(place % len(there)))
        holder: Any = holders.get("one")
        assert storage.with_key("one") is (holder if holder in there else None)
        assert storage.after(0, 99) == there
        assert storage.after(number // 2, 3) == [job for job in there if job.number > number // 2][:3]
