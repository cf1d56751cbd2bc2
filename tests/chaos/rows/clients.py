"""Rows of the table: clients that vanish, fall silent or dawdle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final, TypeAlias

import numpy as np
from chaos.figures import milliseconds
from chaos.site import until
from chaos.trial import Trial

import arraymill as am
from arraymill_server.rpc.stall import ALLOWANCES
from arraymill_server.testing.proxy import Proxy, Weather

UPLOAD_BYTES: Final = 32 << 20

SHARE: Final = 8
"""Uploads at a time: each holds its reservation, and most bytes are still to come."""

SLOW: Final = Weather(bytes_per_second=16 << 20)
"""While uploads begin."""

TRICKLE: Final = Weather(bytes_per_second=1.0)

AT_ONCE_SECONDS: Final = 1.0
"""Time in which the reservation of a closed connection is back."""

STALL_SECONDS: Final = 45.0
"""Time in which that of a silent client is back: the server's default. Who trickles gets ALLOWANCES times as much."""

SLACK_SECONDS: Final = 1.0
"""What may pass beyond a stated time until everything is noticed and measured."""

BEGIN_SECONDS: Final = 60.0

PATIENCE_SECONDS: Final = 30.0
"""Time beyond a bound after which a reservation never comes back."""

Uploads: TypeAlias = AbstractAsyncContextManager[Callable[[], None]]
"""Some uploads while the body runs; gives what happens to them."""


async def lost_clients(run: Trial, *, uploads: int = 100, stall: float = STALL_SECONDS) -> None:
    """Clients are killed in mid-upload, fall silent behind a dropped link, or trickle a byte per second."""
    share = min(SHARE, -(-uploads // 3))
    times = max(1, uploads // share - 2)
    killed = [await _reserved(run, share, _killed(run, share), AT_ONCE_SECONDS) for _ in range(times)]
    silent = await _reserved(run, share, _behind(run, "127.0.0.3", share, Proxy.lose), stall + SLACK_SECONDS)
    longest = ALLOWANCES * stall
    trickling = await _reserved(run, share, _behind(run, "127.0.0.4", share, _trickle), longest + SLACK_SECONDS)
    run.figures["uploads"] = f"{share * times} killed, {share} silent, {share} trickling"
    run.figures["reservation back, killed"] = milliseconds(killed, 50, 100)
    run.figures["silent"] = f"{silent:.1f} s of {stall:g} s"
    run.figures["trickling"] = f"{trickling:.1f} s of {longest:g} s"


async def _reserved(run: Trial, count: int, uploads: Uploads, limit: float) -> float:
    """Begin some uploads, let happen what happens to them, and wait until their memory is back.

    Returns:
        The seconds that it took.
    """
    before = _held(run)
    async with uploads as happen:
        if not await until(lambda: len(_held(run) - before) >= count, BEGIN_SECONDS):
            run.complaints.append(f"{count} uploads have not begun within {BEGIN_SECONDS:g} s")
        leases = _held(run) - before
        happen()
        begin = monotonic()
        if not await until(lambda: not leases & _held(run), limit + PATIENCE_SECONDS):
            run.complaints.append(f"reservations do not come back: {sorted(leases & _held(run))}")
        seconds = monotonic() - begin
        if seconds > limit:
            run.too_slow(f"reservations were back after {seconds:.1f} s, not {limit:g} s")
        return seconds


def _held(run: Trial) -> set[str]:
    """Return the leases of jobs that last: those of the bystander come and go."""
    now, before = run.site.observed()[-1], run.site.observed()[-2]
    return set(now.leases) & set(before.leases)


def _trickle(proxy: Proxy) -> None:
    proxy.weather = TRICKLE


@asynccontextmanager
async def _killed(run: Trial, count: int) -> AsyncGenerator[Callable[[], None]]:
    """Uploads of a process that is killed."""
    command = [sys.executable, "-m", "chaos.uploads", run.site.address, str(count)]
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    try:
        yield process.kill
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def _behind(
    run: Trial, host: str, count: int, fault: Callable[[Proxy], None]
) -> AsyncGenerator[Callable[[], None]]:
    """Uploads behind a proxy to which something happens; nobody waits for them when the body is over."""
    proxy = await run.proxy(host)
    proxy.weather = SLOW
    x = np.ones(UPLOAD_BYTES // 8)

    async def upload() -> None:
        async with am.AsyncClient(run.address(host), retry_for=0, shared=False) as mill:
            with run.ledger.call("upload", timeout=1000, expects=am.ArraymillError):
                await mill.sum(x, timeout=1000)

    tasks = [asyncio.ensure_future(upload()) for _ in range(count)]
    try:
        yield lambda: fault(proxy)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await proxy.close()
