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

    def __init__(self, *, seconds: float = 0.001, fails: bool = False, answer: Any = None) -> None:
        self._seconds = seconds
        self._fails = fails
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
        if self._fails:
            raise BusyError("no room")
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
    told = await result(drive(Client(seconds=60.0), rate=rate, seconds=0.1, timeout=0.02))
    assert told["errors"] == {UNFINISHED: 1 if rate is None else 10}


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
