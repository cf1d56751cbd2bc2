"""How long a submitted job waits for the bytes of its input: who comes and goes and brings nothing is silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feeders import Client, Job

from arraymill_proto.errors import DeadlineError
from arraymill_server.testing.clock import ClockedLoop

STALL_SECONDS = 10.0


class Waiting:
    """A job that waits for its input, on a clock that the test moves."""

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self.loop = ClockedLoop()
        self.job = self.loop.run(self._make(stall_seconds))

    async def _make(self, stall_seconds: float) -> Job:
        job = Job(stall_seconds)
        job.start()
        job.want(0, 10_000)
        return job

    async def want(self, offset: int) -> None:
        self.job.want(offset, 10_000)

    async def _attach(self) -> Client:
        return Client(self.job)

    def attach(self) -> Client:
        client = self.loop.run(self._attach())
        self.loop.settle()
        return client

    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.loop.settle()

    def is_over(self) -> bool:
        return self.job.exchange.stalled.done()

    def close(self) -> None:
        self.job.exchange.end()
        self.loop.settle()
        assert not self.loop.defects
        self.loop.close()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    waiting = Waiting()
    yield waiting
    waiting.close()


@pytest.fixture
def patient() -> Iterator[Waiting]:
    """One that waits for 100 s."""
    patient = Waiting(100.0)
    yield patient
    patient.close()


def test_who_comes_late_has_a_quarter_of_the_time_to_begin(waiting: Waiting) -> None:
    waiting.pass_time(9)
    client = waiting.attach()
    waiting.pass_time(2)
    client.frame(2, 0, 10)
    waiting.pass_time(9)
    assert not waiting.is_over()
    waiting.pass_time(1)
    error = waiting.job.exchange.stalled.exception()
    assert isinstance(error, DeadlineError)
    assert "has sent 10 of 10,000 bytes of input 0 from offset 0 on (want 2) and nothing moved for 10 s" in str(error)
    client.leave()


def test_who_comes_in_time_has_what_is_left(waiting: Waiting) -> None:
    """And the next one may still need the time to begin."""
    waiting.pass_time(2)
    waiting.attach().leave()
    waiting.pass_time(7)
    client = waiting.attach()
    waiting.pass_time(2)
    assert not waiting.is_over()
    waiting.pass_time(1)
    assert waiting.is_over()
    client.leave()


def test_the_time_to_begin_is_ten_seconds_at_most(patient: Waiting) -> None:
    patient.pass_time(99)
    client = patient.attach()
    patient.pass_time(9)
    assert not patient.is_over()
    patient.pass_time(1)
    assert patient.is_over()
    client.leave()


@pytest.mark.parametrize("gap", [0.1, 1.0, 2.4])
def test_to_come_and_go_again_and_again_is_no_move(waiting: Waiting, gap: float) -> None:
    """Silence held the memory of a job for three times as long, before."""
    begin = waiting.loop.now
    while not waiting.is_over():
        client = waiting.attach()
        waiting.pass_time(gap)
        client.leave()
    assert waiting.loop.now - begin < 1.25 * STALL_SECONDS + 2 * gap


def test_a_want_beside_one_that_is_open_is_no_move(waiting: Waiting) -> None:
    client = waiting.attach()
    waiting.pass_time(9)
    waiting.loop.run(waiting.want(10_000))
    waiting.pass_time(1)
    assert waiting.is_over()
    client.leave()


def test_a_want_when_none_is_open_starts_the_clock(waiting: Waiting) -> None:
    client = waiting.attach()
    client.frame(2, 0, 10_000)
    waiting.pass_time(100)
    waiting.loop.run(waiting.want(10_000))
    waiting.pass_time(9)
    assert not waiting.is_over()
    waiting.pass_time(1)
    assert waiting.is_over()
    client.leave()


def test_who_brings_something_may_come_and_go(waiting: Waiting) -> None:
    for want, start, end in ((2, 0, 5_000), (3, 5_000, 9_999)):
        client = waiting.attach()
        client.frame(want, start, end)
        waiting.pass_time(5)
        client.leave()
        waiting.pass_time(4)
    assert not waiting.is_over()
