"""Jobs begin when they are due, whatever becomes of those before."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, cast

import numpy as np
import pytest
from chaos.ledger import Ledger, Outcome
from chaos.work import Work

import arraymill as am
from arraymill_proto.graph import ArrayType

HANDLE = am.Handle("7", ArrayType((10,), np.dtype("f8")))
WORK = Work(HANDLE, 2, 0.5, cast("am.Array", np.sin(HANDLE)))


class Mill:
    """A client whose answers wait for the last job."""

    def __init__(self, jobs: int, *answers: float | Exception) -> None:
        self._left = jobs
        self._answers = list(answers)
        self._all = asyncio.Event()
        self.asked: list[tuple[Any, float]] = []

    async def compute(self, expression: am.Array, *, timeout: float) -> float:
        self.asked.append((expression, timeout))
        answer = self._answers[(len(self.asked) - 1) % len(self._answers)]
        self._left -= 1
        if not self._left:
            self._all.set()
        await self._all.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


def as_client(mill: Mill) -> am.AsyncClient:
    return cast("am.AsyncClient", mill)


async def test_jobs_begin_at_their_rate_though_none_has_ended() -> None:
    ledger = Ledger()
    mill = Mill(20, 0.5, 0.25, am.BusyError("later"), am.WorkerError("it died"))
    begin = monotonic() - 0.05
    await WORK.run_at(100.0, 0.2, as_client(mill), ledger, begin=begin, timeout=3.0)
    assert [call.begin for call in ledger.calls] == pytest.approx([begin + number / 100 for number in range(20)])
    assert {call.outcome for call in ledger.calls} == {Outcome.RIGHT, Outcome.WRONG, Outcome.EXPECTED, Outcome.FAILED}
    assert mill.asked == [(WORK.expression, 3.0)] * 20
    assert {call.timeout for call in ledger.calls} == {3.0}


async def test_no_job_begins_before_it_is_due() -> None:
    ledger = Ledger()
    begin = monotonic() + 0.05
    await WORK.run_at(1000.0, 0.001, as_client(Mill(1, 0.5)), ledger, begin=begin)
    (call,) = ledger.calls
    assert call.begin == begin
    assert call.seconds >= 0


def test_another_process_gets_the_words() -> None:
    assert WORK.words == ("7", "2", (0.5).hex())
