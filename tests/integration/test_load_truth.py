"""The load tester tells the truth: of a server that is slow in a known way it reports the percentiles that follow.

These hold times to bounds, so they are not part of `make test`: make test ARGS="-m timing"
"""

from __future__ import annotations

import numpy as np
import pytest
from slow_server import latency, slow_server

from arraymill.load._plan import read_plan
from arraymill.load._report import QUANTILES, Report
from arraymill.load._run import Run
from arraymill.load._view import QuietView

pytestmark = pytest.mark.timing

DELAYS = (0.3, 0.3, 0.4, 0.3, 0.5)
"""No quantile of the report lies where one delay ends and the next begins."""

DELAY = (0.3,)
"""Beside stalls."""

STALLS = ((0.8, 0.6), (2.5, 0.5), (4.2, 0.5))
"""They touch two in five jobs, so that the median lies well below them and the other quantiles well among them."""

RATE = 100.0
SECONDS = 6.0
TOLERANCE = 0.05


async def measured(address: str, **options: object) -> Report:
    told = {"mix": "sum:8", "rate": RATE, "duration": SECONDS, "warm_up": 0, "check": 0, "clients": 4, **options}
    return await Run(read_plan(told, {}), address, QuietView()).run()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("delays", "stalls"), [(DELAYS, ()), (DELAY, STALLS)], ids=["delays", "stalls"])
async def test_an_open_loop_reports_the_true_percentiles(
    delays: tuple[float, ...], stalls: tuple[tuple[float, float], ...], processes: int
) -> None:
    true = [latency(number, number / RATE, delays, stalls) for number in range(int(RATE * SECONDS))]
    with slow_server(delays, stalls) as address:
        report = await measured(address, processes=processes)
    (step,) = report.steps
    assert step.latency is not None
    assert (step.jobs, step.errors) == (len(true), {})
    found = step.latency.quantiles
    wanted = {f"{quantile:g}": float(np.quantile(true, quantile, method="inverted_cdf")) for quantile in QUANTILES}
    print({text: (round(found[text], 4), round(wanted[text], 4)) for text in wanted}, step.generator)
    assert {text: found[text] for text in wanted} == pytest.approx(wanted, rel=TOLERANCE)
    assert step.latency.mean == pytest.approx(np.mean(true), rel=TOLERANCE)
    assert step.latency.maximum == pytest.approx(max(true), rel=TOLERANCE)


async def test_a_closed_loop_would_hide_them() -> None:
    """What clients that wait for their answers report of the same stalls: the reason for the open loop."""
    true = [latency(number, number / RATE, DELAY, STALLS) for number in range(int(RATE * SECONDS))]
    with slow_server(DELAY, STALLS) as address:
        told = {"mix": "sum:8", "duration": SECONDS, "warm_up": 0, "check": 0, "clients": 4}
        report = await Run(read_plan(told, {}), address, QuietView()).run()
    latency_told = report.steps[0].latency
    assert latency_told is not None
    assert latency_told.quantiles["0.75"] < 0.8 * np.quantile(true, 0.75)
