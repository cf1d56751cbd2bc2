"""Row of the table: a machine that plays tricks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeVar

from chaos.figures import Figures
from chaos.ledger import Outcome
from chaos.load import Load
from chaos.machine import Clock, NotHereError, fill_shared_memory, own_shared_memory
from chaos.oracle import LARGEST_BYTES
from chaos.trial import Plan, Trial, trial

from arraymill_server.testing.orders import DEADLY, Point

T = TypeVar("T")

ARENA: Final = "64MiB"

SHARED_BYTES: Final = 96 << 20
"""Of the machine's /dev/shm: the arena and a little more."""

JUMPS: Final = (3600.0, -3600.0, 0.0)
"""Seconds by which the wall clock is wrong, one after the other."""

LOAD: Final = Path(__file__).parents[2] / "load.py"


async def odd_machine(
    seed: int,
    *,
    jobs: int = 100,
    jumps: int = 30,
    clients: int = 4,
    largest: int = LARGEST_BYTES,
    is_strict: bool = True,
) -> Figures:
    """/dev/shm is full after the start, and the wall clock jumps by an hour, for the server and one client.

    Raises:
        NotHereError: Neither can be had here.
    """
    with ExitStack() as stack:
        figures: Figures = {}
        prefix = _tried(lambda: stack.enter_context(own_shared_memory(SHARED_BYTES)), "/dev/shm", figures)
        clock = _tried(lambda: stack.enter_context(Clock.made()), "clock", figures)
        if prefix is None and clock is None:
            raise NotHereError("; ".join(figures.values()))
        environment = {} if clock is None else clock.environment
        plan = Plan(
            seed=seed, limit=300, arena=ARENA, prefix=prefix or (), environment=environment, is_strict=is_strict
        )
        async with trial(plan) as run:
            run.figures |= figures
            if prefix is not None:
                filled = await asyncio.to_thread(fill_shared_memory, run.site.process.pid)
                run.figures["/dev/shm"] = f"its last {filled >> 20} MiB taken"
            load = Load(seed, largest=largest, in_flight=-(-jobs // clients), timeout=120)
            loading = asyncio.ensure_future(run.run_clients(load, range(jobs), clients))
            if clock is not None:
                other = await _client(run.site.address, seed, jobs, largest, clock)
                await _jump(run, clock, jumps)
                code = await other.wait()
                run.figures["clock"] = f"{jumps} jumps; a client with the same clock ended with exit code {code}"
                if code:
                    run.complaints.append(f"a client whose clock jumps ended with exit code {code}")
            await loading
            run.figures["jobs"] = f"{len(run.ledger.calls)}, failed {len(run.ledger.of(Outcome.FAILED))}"
    return run.figures


def _tried(enter: Callable[[], T], name: str, figures: Figures) -> T | None:
    try:
        return enter()
    except NotHereError as exc:
        figures[name] = f"not tried: {exc}"
        return None


async def _jump(run: Trial, clock: Clock, jumps: int) -> None:
    """Let the clock jump to and fro, and a worker die with each jump."""
    for number in range(jumps):
        clock.jump(JUMPS[number % len(JUMPS)])
        run.book.order(run.random.choice(DEADLY), Point.COMPUTE)
        await asyncio.sleep(run.random.uniform(0.05, 0.3))


async def _client(address: str, seed: int, jobs: int, largest: int, clock: Clock) -> asyncio.subprocess.Process:
    """A client process whose clock jumps as the server's does; it checks its answers."""
    arguments = [str(LOAD), address, str(seed), str(jobs), str(largest)]
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **clock.environment}, stdout=asyncio.subprocess.DEVNULL
    )
