"""What an overload is held to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
from chaos.ledger import Call, Outcome
from chaos.rows.overload import Wave, judge_goodput, judge_refusals
from chaos.trial import Trial

TELLING = "BusyError: 32 of 32 calls are open (--max-streams 32), 9 of them this client's; try again in 1 s"


@dataclass
class Run:
    """A trial that notes what is said."""

    figures: dict[str, str] = field(default_factory=dict[str, str])
    complaints: list[str] = field(default_factory=list[str])

    def too_slow(self, complaint: str) -> None:
        self.complaints.append(f"too slow: {complaint}")


@pytest.fixture
def run() -> Run:
    return Run()


def call_of(end: float, outcome: Outcome, *, begin: float = 0.0, reason: str = "", text: str = "") -> Call:
    return Call(0, "sines", begin, 10.0, end=end, outcome=outcome, reason=reason, text=text)


def refusal(seconds: float, text: str = TELLING) -> Call:
    return call_of(seconds, Outcome.EXPECTED, reason="BUSY", text=text)


def as_trial(run: Run) -> Trial:
    return cast("Trial", run)


def test_what_is_done_after_a_wave_does_not_count(run: Run) -> None:
    ends = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.5, 9.0]
    calls = [*(call_of(end, Outcome.RIGHT) for end in ends), call_of(1.2, Outcome.WRONG)]
    judge_goodput(as_trial(run), calls, [Wave(1.0, 2.0, 2.0), Wave(5.0, 2.0, 2.0), Wave(5.0, 2.0, 1.0)])
    assert run.figures["goodput"] == "1.25, 0.25, 0.50 of the peak"
    assert run.complaints == ["too slow: goodput was 0.50 of the peak, 0.25 in the worst wave"]


def test_no_wave_may_bring_all_to_a_stop(run: Run) -> None:
    calls = [call_of(end, Outcome.RIGHT) for end in (1.0, 2.0, 3.0, 5.0)]
    judge_goodput(as_trial(run), calls, [Wave(1.0, 1.0, 2.0), Wave(2.0, 1.0, 2.0), Wave(5.0, 1.0, 3.0)])
    assert run.complaints == ["too slow: goodput was 1.00 of the peak, 0.33 in the worst wave"]


def test_refusals_that_tell_all_in_time(run: Run) -> None:
    late = call_of(10.0, Outcome.EXPECTED, reason="DEADLINE")
    judge_refusals(as_trial(run), [*(refusal(0.01) for _ in range(3)), late, call_of(1.0, Outcome.RIGHT)])
    assert run.figures["calls"] == "5, 3 refused, 1 ended by their deadline of 20 s"
    assert run.figures["refusal"] == "p50 10 ms, p99 10 ms"
    assert not run.complaints


def test_refusals_that_come_late(run: Run) -> None:
    judge_refusals(as_trial(run), [refusal(0.01), refusal(0.06)])
    assert run.complaints == ["too slow: the 99th of 100 refusals took 0.060 s"]


def test_refusals_that_tell_too_little(run: Run) -> None:
    judge_refusals(as_trial(run), [refusal(0.01), *(refusal(0.01, "BusyError: no") for _ in range(2))])
    assert run.complaints == ["a refusal tells too little: BusyError: no"]


def test_nobody_is_refused(run: Run) -> None:
    judge_refusals(as_trial(run), [call_of(1.0, Outcome.RIGHT)])
    assert run.complaints == ["nobody was refused"]
