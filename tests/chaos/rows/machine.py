"""Row of the table: a machine that plays tricks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from chaos.ledger import Outcome
from chaos.load import Load
from chaos.machine import Clock, fill_shared_memory
from chaos.oracle import LARGEST_BYTES
from chaos.trial import Trial

from arraymill_server.testing.orders import DEADLY, Point

JUMPS: Final = (3600.0, -3600.0, 0.0)
"""Seconds by which the wall clock is wrong, one after the other."""

LOAD: Final = Path(__file__).parents[2] / "load.py"


async def machine_tricks(
    run: Trial, *, jobs: int = 100, jumps: int = 30, clients: int = 4, largest: int = LARGEST_BYTES
) -> None:
    """/dev/shm is full after the start, and the wall clock jumps by an hour, for the server and one client."""
    machine = run.plan.machine
    run.figures |= machine.not_tried
    if "/dev/shm" not in machine.not_tried:
        filled = await asyncio.to_thread(fill_shared_memory, run.site.process.pid)
        run.figures["/dev/shm"] = f"its last {filled >> 20} MiB taken"
    load = Load(run.plan.seed, largest=largest, in_flight=-(-jobs // clients), timeout=120)
    loading = asyncio.ensure_future(run.run_clients(load, range(jobs), clients))
    if machine.clock is not None:
        other = await _client(run, jobs, largest, machine.clock)
        await _jump(run, machine.clock, jumps)
        code = await other.wait()
        run.figures["clock"] = f"{jumps} jumps; a client with the same clock ended with exit code {code}"
        if code:
            run.complaints.append(f"a client whose clock jumps ended with exit code {code}")
    await loading
    run.figures["jobs"] = f"{len(run.ledger.calls)}, failed {len(run.ledger.of(Outcome.FAILED))}"


async def _jump(run: Trial, clock: Clock, jumps: int) -> None:
    """Let the clock jump to and fro, and a worker die with each jump."""
    for number in range(jumps):
        clock.jump(JUMPS[number % len(JUMPS)])
        run.book.order(run.random.choice(DEADLY), Point.COMPUTE)
        await asyncio.sleep(run.random.uniform(0.05, 0.3))


async def _client(run: Trial, jobs: int, largest: int, clock: Clock) -> asyncio.subprocess.Process:
    """A client process whose clock jumps as the server's does; it checks its answers."""
    arguments = [str(LOAD), run.site.address, str(run.plan.seed), str(jobs), str(largest)]
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **clock.environment}, stdout=asyncio.subprocess.DEVNULL
    )
