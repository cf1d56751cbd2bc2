from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from chaos.ledger import Call, Ledger, Outcome, read_calls

import arraymill as am


def run(raised: BaseException | None, is_right: bool | None = None, **terms: Any) -> Call:
    """Return the call in whose body an exception was raised, or an answer checked."""
    ledger = Ledger()
    terms = {"timeout": 5, "key": "k", "nbytes": 8, "expects": am.DeadlineError, **terms}
    with ledger.call("sum", **terms) as call:
        if is_right is not None:
            call.check(is_right)
        if raised is not None:
            raise raised
    assert ledger.calls == [call]
    return call


def test_the_end_of_a_call() -> None:
    begin = monotonic()
    call = run(None)
    assert call.end is not None
    assert begin <= call.begin <= call.end <= monotonic()
    assert call.seconds == call.end - call.begin
    assert (call.number, call.what, call.timeout, call.key, call.nbytes) == (0, "sum", 5, "k", 8)
    assert [run(None, answer).outcome for answer in (None, True, False)] == [
        Outcome.RIGHT,
        Outcome.RIGHT,
        Outcome.WRONG,
    ]


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "text"),
    [
        (am.DeadlineError("too long"), Outcome.EXPECTED, "DEADLINE", "DeadlineError: too long"),
        (am.WorkerError("it died"), Outcome.FAILED, "WORKER", "WorkerError: it died"),
        (KeyError("x"), Outcome.BROKEN, "", "KeyError('x')"),
        (TimeoutError(), Outcome.BROKEN, "", "TimeoutError()"),
    ],
)
@pytest.mark.parametrize("is_right", [None, True])
def test_an_error_ends_a_call_and_goes_no_further(
    error: Exception, outcome: Outcome, reason: str, text: str, is_right: bool | None
) -> None:
    call = run(error, is_right)
    assert (call.outcome, call.reason, call.text) == (outcome, reason, text)
    assert call.end is not None


def test_a_call_counts_from_when_it_was_due() -> None:
    due = monotonic() - 5
    call = run(am.BusyError("later"), begin=due, expects=(am.DeadlineError, am.BusyError))
    assert (call.begin, call.outcome) == (due, Outcome.EXPECTED)
    assert call.seconds >= 5


def test_who_cancels_hears_of_it() -> None:
    ledger = Ledger()
    with pytest.raises(asyncio.CancelledError), ledger.call("sum", timeout=5):
        raise asyncio.CancelledError
    assert [(call.outcome, call.end is None) for call in ledger.of(Outcome.CANCELLED)] == [(Outcome.CANCELLED, False)]


def test_a_ledger_outlives_its_client(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with Ledger(path) as ledger:
        with ledger.call("sum", timeout=5) as call:
            call.check(is_right=False)
        with ledger.call("put", timeout=5, key="k"):
            first, second = read_calls(path)
            assert (first, second.what, second.key, second.end, second.outcome) == (call, "put", "k", None, None)
    assert list(read_calls(path)) == ledger.calls
    assert ledger.of(Outcome.WRONG, Outcome.BROKEN) == [call]
    with path.open("a") as file:
        file.write('{"number": 1, "what": "pu')  # killed here
    assert list(read_calls(path)) == ledger.calls
