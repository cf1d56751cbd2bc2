"""The load tester tells the truth: of a server that is slow in a known way it reports the percentiles that follow.

These hold times to bounds, so they are not part of `make test`: make test ARGS="-m timing"
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from slow_server import latency, slow_server

from arraymill._inline import request_of
from arraymill.load._mix import read_entry
from arraymill.load._plan import read_plan
from arraymill.load._report import QUANTILES, Report
from arraymill.load._run import Run
from arraymill.load._view import QuietView
from arraymill.load._work import prepare

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
    given = {name: value for name, value in told.items() if value is not None}
    return await Run(read_plan(given, {}), address, QuietView()).run()


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


@pytest.mark.skipif(shutil.which("h2load") is None, reason="there is no h2load; Debian: nghttp2-client")
async def test_h2load_finds_the_same_throughput(tmp_path: Path) -> None:
    """The same small calls by a load tester in C: as many connections, one call under way on each."""
    message = request_of(prepare(read_entry("sum:8"), seed=0, is_checked=False).job).SerializeToString()
    body = tmp_path / "request"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)  # as gRPC has it
    with slow_server((0.02,)) as address:
        report = await measured(address, rate=None, clients=8)
        command = ["h2load", "--clients", "8", "--max-concurrent-streams", "1", "--duration", f"{SECONDS:g}"]
        command += ["--warm-up-time", "1", "--data", str(body), "--header", "content-type: application/grpc"]
        command += ["--header", "te: trailers", f"http://{address}/arraymill.v1.Arraymill/Compute"]
        told = (await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)).stdout
    found = re.search(r"finished in .*?, ([\d.]+) req/s", told)
    assert found is not None, told
    assert "0 failed, 0 errored, 0 timeout" in told
    ours, theirs = report.steps[0].jobs_per_second, float(found[1])
    print(f"arraymill load {ours:.1f}, h2load {theirs:.1f} calls/s")
    assert ours == pytest.approx(theirs, rel=0.15)
