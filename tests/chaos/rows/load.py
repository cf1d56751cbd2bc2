"""Row of the table: many clients at once, for minutes, driven by `arraymill load` itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from chaos.rows.soak import judge_growth, sample
from chaos.trial import Trial

from arraymill.load._report import Report, read_report

MIX: Final = "sum:8KiB*8, sqrt:64KiB*4, sum:1MiB*2, (a * b).sum(axis=0):500x250"
"""Small jobs, jobs on streams, and jobs in shared memory."""

CHECK: Final = 20
"""Every so-manieth answer is compared with NumPy's."""

JUDGING_SECONDS: Final = 200.0
"""Slopes of less time are noise."""

JOB_SECONDS: Final = 120.0
"""What a job may take: all clients together wait for two workers."""

START_SECONDS: Final = 120.0
"""What the load tester takes besides, at most: 256 connections, and the last answers."""


async def many_clients(run: Trial, *, clients: int = 256, seconds: float = 300.0, warm_up: float = 60.0) -> None:
    """Clients that send one job after the other: none may fail, and the server's memory must not grow.

    Before, every client must have sent jobs of all kinds: its connections and shared memory come with the first.
    """
    path = run.site.folder / "load.json"
    loading = asyncio.ensure_future(_load(run, clients, f"{seconds:g}s", f"{warm_up:g}s", path))
    await asyncio.sleep(warm_up)
    samples = await sample(run, seconds)
    try:
        code = await asyncio.wait_for(loading, START_SECONDS + JOB_SECONDS)
    finally:
        loading.cancel()
    if code:
        run.complaints.append(f"arraymill load has ended with {code}")
    _judge(run, read_report(path))
    judge_growth(run, samples, least=JUDGING_SECONDS)


async def _load(run: Trial, clients: int, duration: str, warm_up: str, path: Path) -> int:
    words = [
        "--server",
        run.site.address,
        "--mix",
        MIX,
        "--check",
        str(CHECK),
        "--processes",
        "2",
        "--warm-up",
        warm_up,
    ]
    words += ["--timeout", f"{JOB_SECONDS:g}"]
    words += ["--clients", str(clients), "--duration", duration, "--seed", str(run.plan.seed), "-q"]
    command = [sys.executable, "-m", "arraymill", "load", *words, "--output", str(path), "--fail-if", "errors>0"]
    with (run.site.folder / "load.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _judge(run: Trial, report: Report) -> None:
    (step,) = report.steps
    run.figures["clients"] = f"{step.clients}, {step.jobs:,} jobs, {step.jobs_per_second:,.0f} jobs/s"
    run.figures["errors"] = f"{sum(step.errors.values())}, {step.wrong} wrong of {step.checked:,} answers checked"
    if step.latency is not None:
        quantiles = step.latency.quantiles
        run.figures["time of a job"] = f"p50 {1e3 * quantiles['0.5']:.0f} ms, p99 {1e3 * quantiles['0.99']:.0f} ms"
    if step.errors or not step.jobs:
        times = [second.at for second in step.series if second.errors]
        when = f", sent {times[0]:.0f} s to {times[-1]:.0f} s after the begin" if times else ""
        run.complaints.append(f"jobs have failed: {step.errors or 'none ended well'}{when}")
        run.complaints += [f"log: {line[:300]}" for line in run.site.log(5).splitlines()]
