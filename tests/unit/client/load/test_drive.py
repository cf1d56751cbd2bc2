"""Driving clients: when jobs are sent, and what their latencies count from. Clients answer as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from arraymill.load import _drive
from arraymill.load._clients import LoadClient
from arraymill.load._drive import Drive, Order
from arraymill.load._histogram import Histogram
from arraymill.load._mix import Transport, read_entry
from arraymill.load._schedule import Arrival, Share
from arraymill.load._tally import UNFINISHED
from arraymill.load._work import prepare
from arraymill_proto.errors import BusyError
from arraymill_proto.v1 import arraymill_pb2 as pb

WORK = prepare(read_entry("sum:1KiB"), seed=0, is_checked=True)


class Client:
    """Answers after some seconds, or fails."""

    def __init__(
        self, *, seconds: float = 0.001, fails: bool = False, error: Exception | None = None, answer: Any = None
    ) -> None:
        self._seconds = seconds
        self._error = BusyError("no room") if fails else error
        self._answer = WORK.expected[0] if answer is None else answer
        self.jobs = 0
        self.under_way = self.most = 0

    async def run(
        self, transport: Transport, job: object, timeout: float, times: Callable[[pb.JobTimes], None]
    ) -> Sequence[Any]:
        self.jobs += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.under_way -= 1
        if self._error is not None:
            raise self._error
        times(pb.JobTimes(total=self._seconds))
        return [self._answer]


def drive(*clients: Client, **changes: Any) -> Drive:
    told: dict[str, Any] = {
        "begin": asyncio.get_running_loop().time(),
        "warm_up": 0.0,
        "seconds": None,
        "count": None,
        "rate": None,
        "arrival": Arrival.UNIFORM,
        "in_flight": 1,
        "timeout": 5.0,
        "check": 1,
        "share": Share(0, 1),
        "seed": "",
    }
    return Drive(Order(**{**told, **changes}), cast("list[LoadClient]", clients), [WORK], [1.0])


async def result(made: Drive) -> dict[str, Any]:
    await made.run()
    told = made.tally.result()
    return {**told, **told["parts"][0]}


async def test_a_closed_loop_counts_jobs() -> None:
    clients = Client(), Client()
    told = await result(drive(*clients, count=20))
    assert (told["jobs"], told["errors"], told["checked"], told["meant"]) == (20, {}, 20, 0)
    assert sum(client.jobs for client in clients) == 20
    assert max(client.most for client in clients) == 1


async def test_a_client_has_several_jobs_in_flight_where_it_is_told_so() -> None:
    client = Client(seconds=0.01)
    await result(drive(client, count=20, in_flight=4))
    assert client.most == 4


async def test_a_closed_loop_ends_in_time() -> None:
    told = await result(drive(Client(), seconds=0.05))
    assert told["jobs"] > 0
    assert told["end"] == 0.05


async def test_an_open_loop_sends_however_slow_the_answers_are() -> None:
    client = Client(seconds=0.2)
    told = await result(drive(client, Client(seconds=0.2), rate=200.0, seconds=0.1))
    assert (told["jobs"], told["meant"]) == (20, 20)
    assert client.most == 10


async def test_an_open_loop_counts_jobs() -> None:
    told = await result(drive(Client(), rate=1000.0, count=30))
    assert (told["jobs"], told["meant"]) == (30, 30)


async def test_what_is_sent_before_the_begin_does_not_count() -> None:
    client = Client()
    begin = asyncio.get_running_loop().time() + 0.05
    told = await result(drive(client, begin=begin, warm_up=0.05, rate=200.0, seconds=0.05))
    assert (told["jobs"], told["meant"]) == (10, 10)
    assert client.jobs == 20


async def test_what_is_left_of_a_late_warm_up_is_not_sent() -> None:
    client = Client()
    told = await result(drive(client, warm_up=10.0, rate=200.0, seconds=0.05))  # all of it is over
    assert (told["jobs"], told["meant"], client.jobs) == (10, 10, 10)


async def test_errors_are_counted_by_reason() -> None:
    told = await result(drive(Client(fails=True), rate=1000.0, count=5))
    assert (told["jobs"], told["errors"]) == (0, {"BusyError": 5})


async def test_a_client_that_failed_waits_in_a_closed_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "PAUSE_SECONDS", 60.0)
    client = Client(fails=True)
    told = await result(drive(client, seconds=0.05, timeout=0.05))
    assert (client.jobs, told["errors"]) == (1, {"BusyError": 1})


async def test_wrong_answers_are_found() -> None:
    told = await result(drive(Client(answer=np.float64(-1)), count=4, check=2))
    assert (told["checked"], told["wrong"], told["errors"], told["jobs"]) == (2, 2, {"WrongAnswer": 2}, 2)


@pytest.mark.parametrize("rate", [None, 100.0])
async def test_what_has_no_answer_at_the_end_is_unfinished(rate: float | None) -> None:
    told = await result(drive(Client(seconds=60.0), rate=rate, seconds=0.4, timeout=0.02))
    assert told["errors"] == {UNFINISHED: 1 if rate is None else 40}


async def test_what_could_not_be_sent_is_unfinished_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "MAX_UNDER_WAY", 3)
    monkeypatch.setattr(_drive, "DRAIN_SECONDS", 0.02)
    made = drive(Client(seconds=60.0), rate=100.0, seconds=0.1)
    told = await result(made)
    assert (told["errors"], told["meant"], told["sent_in_time"]) == ({UNFINISHED: 10}, 10, 3)
    assert made.was_full


async def test_it_can_be_stopped() -> None:
    made = drive(Client(), rate=500.0, seconds=60.0)
    asyncio.get_running_loop().call_later(0.05, made.stop)
    told = await result(made)
    assert told["jobs"] > 0
    assert told["errors"].keys() <= {UNFINISHED}
    assert told["end"] < 60.0


async def test_latency_counts_from_the_intended_send() -> None:
    """A client that can send nothing for a while is late, and the jobs of that time have waited."""
    made = drive(Client(), rate=100.0, seconds=0.2)

    asyncio.get_running_loop().call_later(0.05, time.sleep, 0.1)
    await made.run()
    told = made.tally.result()
    assert told["parts"][0]["jobs"] == 20
    latency, service = (Histogram.decoded(told["histograms"][name]) for name in ("latency", "service"))
    assert latency.maximum > 0.08
    assert latency.count == service.count == 20


# ------------------------------------------------------------------ what could not be sent


async def test_warm_up_jobs_that_nobody_could_send_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is stuck at a job of the warm-up: those of the step are unfinished all the same."""
    monkeypatch.setattr(_drive, "MAX_UNDER_WAY", 1)
    monkeypatch.setattr(_drive, "DRAIN_SECONDS", 0.02)
    begin = asyncio.get_running_loop().time() + 0.05
    told = await result(drive(Client(seconds=60.0), begin=begin, warm_up=0.045, rate=100.0, seconds=0.1))
    assert (told["errors"], told["meant"]) == ({UNFINISHED: 10}, 10)


async def test_jobs_that_nobody_could_send_are_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "MAX_UNDER_WAY", 1)
    monkeypatch.setattr(_drive, "DRAIN_SECONDS", 0.02)
    monkeypatch.setattr(_drive, "MAX_UNSENT", 50)
    told = await result(drive(Client(seconds=60.0), rate=100_000.0, seconds=0.1))
    assert told["errors"] == {UNFINISHED: 1 + 50}


@pytest.mark.parametrize("limits", [{"seconds": 1e5}, {"count": 10**9}])
async def test_a_drive_that_is_cancelled_ends_at_once(limits: dict[str, Any]) -> None:
    """So ends a generator whose load tester is gone: nobody wants to know what was not sent."""
    client = Client(seconds=60.0)
    made = drive(client, rate=500.0, **limits)
    running = asyncio.ensure_future(made.run())
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert client.under_way == 0
    assert made.tally.meant < 1000


# ------------------------------------------------------------------ stops and defects


async def test_a_stop_waits_for_answers_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "STOP_SECONDS", 0.02)
    client = Client(seconds=60.0)
    made = drive(client, seconds=60.0)
    asyncio.get_running_loop().call_later(0.02, made.stop)
    told = await asyncio.wait_for(result(made), 5)
    assert (told["errors"], client.under_way) == ({UNFINISHED: 1}, 0)


async def test_a_stop_ends_the_wait_for_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "STOP_SECONDS", 0.02)
    made = drive(Client(seconds=60.0), seconds=0.01)
    asyncio.get_running_loop().call_later(0.1, made.stop)
    told = await asyncio.wait_for(result(made), 5)
    assert (told["errors"], told["end"]) == ({UNFINISHED: 1}, 0.01)


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_whatever_a_job_raises_is_counted(rate: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive, "PAUSE_SECONDS", 0.0)
    told = await result(drive(Client(error=ZeroDivisionError()), rate=rate, count=3))
    assert (told["jobs"], told["errors"]) == (0, {"ZeroDivisionError": 3})


@pytest.mark.parametrize("rate", [None, 1000.0])
async def test_a_defect_ends_the_step(rate: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = drive(Client(), rate=rate, seconds=60.0)

    def fail(*arguments: Any, **named: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(made.tally), "succeeded", fail)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(made.run(), 5)


# ------------------------------------------------------------------ what is checked


@pytest.mark.parametrize(("count", "checked"), [(1, 1), (3, 1), (4, 2)])
async def test_the_first_answer_is_checked_and_then_every_third(count: int, checked: int) -> None:
    told = await result(drive(Client(), count=count, check=3))
    assert told["checked"] == checked


async def test_answers_of_the_warm_up_are_not_counted_for_checks() -> None:
    begin = asyncio.get_running_loop().time() + 0.05
    told = await result(drive(Client(), begin=begin, warm_up=0.05, rate=200.0, count=2, check=1000))
    assert told["checked"] == 1
