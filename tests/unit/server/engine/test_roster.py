from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.roster import LONG_SECONDS, Roster
from arraymill_server.engine.turns import Entry
from arraymill_server.testing.faults import write_task

CRASH = Death(Ending.CRASHED, "")
KILL = Death(Ending.KILLED, "")


@dataclass
class Seat:
    seat: int
    entries: deque[Entry] = field(default_factory=deque[Entry])


class Scene:
    def __init__(self, loop: asyncio.AbstractEventLoop, workers: int, in_flight: int = 2) -> None:
        self.loop = loop
        self.roster = Roster(in_flight)
        self.seats = [Seat(number) for number in range(workers)]
        self.ids = count()

    def entry(self, job: str = "job", *deaths: Death, seats: set[int] | None = None, solo: bool = False) -> Entry:
        entry = Entry(next(self.ids), job, write_task(0, 0), self.loop.create_future(), b"", is_solo=solo)
        entry.deaths += deaths
        entry.seats |= seats or frozenset()
        return entry

    def push(self, number: int = 1, job: str = "job") -> list[Entry]:
        entries = [self.entry(job) for _ in range(number)]
        for entry in entries:
            self.roster.push(entry)
        return entries

    def suspect(self, *seats: int, solo: bool = False) -> Entry:
        entry = self.entry("job", *[CRASH for _ in seats], seats=set(seats), solo=solo)
        self.roster.push_back(entry)
        return entry

    def assign(self, expected_seconds: float = 0.0) -> list[tuple[int, Entry]]:
        """Assign; returns who got what."""
        pairs: list[tuple[int, Entry]] = []
        for seat, entry in self.roster.assign(self.seats):
            entry.expected_seconds = expected_seconds
            seat.entries.append(entry)
            pairs.append((seat.seat, entry))
        return pairs


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def scene(loop: asyncio.AbstractEventLoop) -> Scene:
    return Scene(loop, 2)


def test_idle_workers_come_first_then_two_in_flight(scene: Scene) -> None:
    entries = scene.push(5)
    assert scene.assign() == [(0, entries[0]), (1, entries[1]), (0, entries[2]), (1, entries[3])]
    assert len(scene.roster) == 1


def test_nobody_waits_behind_a_long_task(scene: Scene) -> None:
    entries = scene.push(3)
    assert scene.assign(expected_seconds=2 * LONG_SECONDS) == [(0, entries[0]), (1, entries[1])]
    assert scene.assign() == []
    scene.seats[0].entries.clear()
    assert scene.assign() == [(0, entries[2])]


def test_a_task_that_lost_its_worker_comes_first(scene: Scene) -> None:
    first, second = scene.push(2)
    lost = scene.entry("job", KILL)
    scene.roster.push_back(lost)
    assert [entry for _, entry in scene.assign()] == [lost, first, second]


@pytest.mark.parametrize("seats", [(0,), (1,)])
def test_a_suspect_goes_to_another_seat(scene: Scene, seats: tuple[int, ...]) -> None:
    suspect = scene.suspect(*seats)
    assert scene.assign() == [(1 - seats[0], suspect)]


def test_a_suspect_waits_for_another_seat_and_is_the_next_there(scene: Scene) -> None:
    scene.push(4)
    scene.assign()
    suspect = scene.suspect(0)
    others = scene.push(4)
    scene.seats[0].entries.popleft()
    assert scene.assign() == [(0, others[0])]
    scene.seats[1].entries.popleft()
    assert scene.assign() == [(1, suspect)]


def test_a_suspect_of_every_seat_goes_anywhere(scene: Scene) -> None:
    suspect = scene.suspect(0, 1)
    assert scene.assign() == [(0, suspect)]


def test_a_suspect_goes_where_it_struck_when_that_is_all_there_is(scene: Scene) -> None:
    suspect = scene.suspect(0)
    del scene.seats[1]
    assert scene.assign() == [(0, suspect)]


def test_the_last_attempt_is_made_alone(scene: Scene) -> None:
    entries = scene.push(4)
    scene.assign()
    suspect = scene.suspect(0, 1, solo=True)
    more = scene.push(4)
    assert scene.assign() == []
    scene.seats[0].entries.popleft()
    assert scene.assign() == [], "the worker is kept for the suspect"
    scene.seats[1].entries.popleft()
    assert scene.assign() == [(1, more[0])], "the other one goes on"
    scene.seats[0].entries.popleft()
    assert scene.assign() == [(0, suspect)]
    assert list(scene.seats[0].entries) == [suspect]
    assert [entry.task_id for entry in scene.seats[1].entries] == [entries[3].task_id, more[0].task_id]
    scene.seats[1].entries.clear()
    assert scene.assign() == [(1, more[1]), (1, more[2])], "nobody joins the suspect"


def test_two_last_attempts_take_a_worker_each(scene: Scene) -> None:
    suspects = [scene.suspect(0, 1, solo=True), scene.suspect(0, 1, solo=True)]
    scene.push(4)
    assert scene.assign() == [(0, suspects[0]), (1, suspects[1])]


def test_one_worker_makes_last_attempts_one_by_one(loop: asyncio.AbstractEventLoop) -> None:
    scene = Scene(loop, 1)
    first, second = scene.suspect(0, solo=True), scene.suspect(0, solo=True)
    assert scene.assign() == [(0, first)]
    assert scene.assign() == []
    scene.seats[0].entries.clear()
    assert scene.assign() == [(0, second)]


def test_cancelled_suspects_are_passed_over(scene: Scene) -> None:
    scene.suspect(0, 1, solo=True).future.cancel()
    entry = scene.push()[0]
    assert scene.assign() == [(0, entry)]
    assert len(scene.roster) == 0


def test_a_job_can_be_dropped_and_everything_cleared(scene: Scene) -> None:
    suspect, entry = scene.suspect(0), scene.push()[0]
    other = scene.push(job="other")[0]
    assert scene.roster.drop("job") == [suspect, entry]
    again = scene.suspect(1)
    assert scene.roster.clear() == [again, other]
    assert (len(scene.roster), scene.assign()) == (0, [])


def test_without_workers_nothing_happens(loop: asyncio.AbstractEventLoop) -> None:
    scene = Scene(loop, 0)
    scene.push()
    scene.suspect(0)
    assert (scene.assign(), len(scene.roster)) == ([], 2)
