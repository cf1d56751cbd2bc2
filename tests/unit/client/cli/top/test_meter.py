"""What `top` makes of the answers of a server."""

from __future__ import annotations

from typing import Any

import pytest
from tops import info_of

from arraymill.cli.top import _meter
from arraymill.cli.top._meter import Meter, Sample


def sample(at: float, uptime: float, *, took: float = 0.0, **fields: Any) -> Sample:
    return Sample(at - took / 2, at + took / 2, info_of(uptime_seconds=uptime, **fields))


def test_rates_are_differences_of_two_answers() -> None:
    meter = Meter("host:1")
    first = meter.add(sample(100, 5, ended_jobs={"succeeded": 50}))
    assert (first.server, first.flows, first.trouble) == ("host:1", {}, "")
    view = meter.add(
        sample(102, 7, ended_jobs={"succeeded": 80, "failed": 1}, received_bytes={"grpc": 4096}, sent_bytes={})
    )
    assert view.flows["jobs"].by_kind == {"failed": 0.5, "succeeded": 15.0}
    assert view.flows["jobs"].total == 15.5
    assert view.flows["received"].by_kind == {"grpc": 2048.0}
    assert (view.flows["sent"].total, view.flows["refusals"].total) == (0, 0)
    assert repr(meter) == "<Meter of host:1, 1 rates>"


def test_rates_of_the_past_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "HISTORY", 3)
    meter = Meter("host:1")
    views = [meter.add(sample(at, at, ended_jobs={"succeeded": at * at})) for at in range(6)]
    assert views[-1].flows["jobs"].history == (5, 7, 9)


@pytest.mark.parametrize("is_lost", [True, False])
def test_another_process_begins_anew(is_lost: bool) -> None:
    """Its counts may be lower or higher than those of the one before: neither gives a rate."""
    meter = Meter("host:1")
    meter.add(sample(100, 1000, ended_jobs={"succeeded": 50}))
    meter.add(sample(101, 1001, ended_jobs={"succeeded": 60}))
    if is_lost:
        assert meter.trouble(110, "gone").silent_seconds == 9
    view = meter.add(sample(120, 4, ended_jobs={"succeeded": 1000}))
    assert (view.flows, view.replaced, view.trouble) == ({}, 1, "")
    view = meter.add(sample(121, 5, ended_jobs={"succeeded": 1007}))
    assert view.flows["jobs"].by_kind == {"succeeded": 7}
    assert view.flows["jobs"].history == (10, 7)


def test_an_older_process_may_be_another_one() -> None:
    """It was started while nobody could ask, and is older now than the first was when it answered last."""
    meter = Meter("host:1")
    meter.add(sample(100, 5))
    assert meter.add(sample(200, 50)).replaced == 1


def test_a_slow_answer_makes_no_other_process() -> None:
    """The age was read at some time between the question and the answer."""
    for first, second in ((50, 61), (50, 79), (59, 61)):
        meter = Meter("host:1")
        meter.add(sample(100, first, took=20))
        assert meter.add(sample(120, second, took=20)).replaced == 0


def test_no_rate_is_negative_or_infinite() -> None:
    meter = Meter("host:1")
    meter.add(sample(100, 0.15, ended_jobs={"succeeded": 50}))
    view = meter.add(sample(100, 0.1, ended_jobs={"succeeded": 3, "failed": 1}))
    assert view.flows["jobs"].by_kind == {"failed": 1000.0, "succeeded": 0.0}


def test_a_server_that_does_not_answer_keeps_its_figures_without_rates() -> None:
    meter = Meter("host:1")
    assert meter.trouble(5, "nobody there").silent_seconds == 0
    meter.add(sample(100, 5, workers=3))
    meter.add(sample(101, 6, workers=3))
    view = meter.trouble(104.5, "gone")
    assert view.info is not None
    assert (view.trouble, view.silent_seconds, view.flows, view.info.workers) == ("gone", 3.5, {}, 3)
    assert meter.add(sample(111, 16)).trouble == ""


def test_a_server_that_lived_for_a_moment_is_seen_to_be_replaced() -> None:
    meter = Meter("host:1")
    meter.add(sample(100, 0.1))
    assert meter.add(sample(101, 0.3)).replaced == 1
    assert meter.add(sample(102, 1.25)).replaced == 1
