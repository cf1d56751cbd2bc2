"""Row of the table: jobs that are cancelled while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Final, TypeAlias, cast

import numpy as np
from chaos.figures import milliseconds, percentile
from chaos.site import LOOK_SECONDS
from chaos.trial import Trial
from numpy.typing import NDArray

import arraymill as am
from arraymill_server.testing.orders import Blow, mark
from arraymill_server.testing.proxy import Weather

FREE_SECONDS: Final = 1.5
"""Time in which the memory of a cancelled job must be back."""

STEPS: Final = 60
"""Sines in a row: some 0.3 s for a block, far more than the rest of a test takes."""

BYTES: Final = 32 << 20
"""Of an array. Sockets and proxy hold some 14 MiB of a result: the job that sends it must not end with that."""

SLOW: Final = Weather(bytes_per_second=8 << 20)

BEGIN_SECONDS: Final = 20.0

SMALL_BYTES: Final = 1 << 20
"""What the jobs of the bystander may hold."""

Cancel: TypeAlias = Callable[[], Awaitable[Any]]
Begin: TypeAlias = "Callable[[Trial, am.Handle, int], Awaitable[Cancel]]"


async def cancels(run: Trial, *, jobs: int = 200, share: int = 8, nbytes: int = BYTES) -> None:
    """Jobs are cancelled while they receive, compute, hang and send, computed and submitted."""
    x: NDArray[np.float64] = np.random.Generator(np.random.Philox(key=run.plan.seed)).random(nbytes // 8)
    proxy = await run.proxy()
    proxy.weather = SLOW
    async with run.client() as mill:
        handle = await mill.put(x)
        times: dict[str, list[float]] = {name: [] for name in KINDS}
        for number in range(-(-jobs // share)):
            name = sorted(KINDS)[number % len(KINDS)]
            times[name] += [await _round(run, mill, name, handle, share)] * share
        await mill.delete(handle)
    everything = [seconds for each in times.values() for seconds in each]
    run.figures["cancelled"] = str(len(everything))
    run.figures["core and memory free"] = milliseconds(everything, 50, 99, 100)
    for name, each in times.items():
        run.figures[name] = f"at most {1000 * max(each, default=0.0):.0f} ms"
    if percentile(everything, 99) > FREE_SECONDS:
        run.too_slow(f"memory was free {percentile(everything, 99):.2f} s after a cancellation")


async def _round(run: Trial, mill: am.AsyncClient, name: str, handle: am.Handle, count: int) -> float:
    """Begin some jobs, cancel them together; return the seconds until their memory is back and workers answer."""
    before = await mill.info()
    with run.ledger.call(f"{count} {name}", timeout=60) as call:
        cancel = await KINDS[name](run, handle, count)
        end = monotonic() + BEGIN_SECONDS
        while (await mill.info()).running_jobs < count:
            if monotonic() > end:
                run.complaints.append(f"of {count} {name} jobs not all ran after {BEGIN_SECONDS:g} s")
                break
            await asyncio.sleep(LOOK_SECONDS)
        begin = monotonic()
        await cancel()
        while (info := await mill.info()).arena_free_bytes < before.arena_free_bytes - SMALL_BYTES:
            if monotonic() > begin + 10 * FREE_SECONDS:
                run.complaints.append(f"{name}: {info.running_jobs} jobs hold memory long after they were cancelled")
                break
        await asyncio.gather(*(mill.sum(np.ones(1 << 14)) for _ in range(2 * run.plan.workers)))
        seconds = monotonic() - begin
        call.check(is_right=True)
    return seconds


def _long(handle: am.Handle) -> am.Array:
    value: am.Array = handle
    for _ in range(STEPS):
        value = cast("am.Array", np.sin(value))
    return value


async def _computing(run: Trial, handle: am.Handle, count: int) -> Cancel:
    return _calls(run, run.site.address, [_long(handle).sum()] * count)


async def _hanging(run: Trial, handle: am.Handle, count: int) -> Cancel:
    return _calls(run, run.site.address, [(handle + mark(Blow.SPIN)).sum()] * count)


async def _receiving(run: Trial, handle: am.Handle, count: int) -> Cancel:
    return _calls(run, run.address(), [am.asarray(np.ones(4 << 20)).sum()] * count)


async def _sending(run: Trial, handle: am.Handle, count: int) -> Cancel:
    return _calls(run, run.address(), [cast("am.Array", np.sqrt(handle))] * count)


async def _submitted(run: Trial, handle: am.Handle, count: int) -> Cancel:
    mill = run.client()
    jobs = [await mill.submit(_long(handle).sum()) for _ in range(count)]

    async def cancel() -> None:
        await asyncio.gather(*(job.cancel() for job in jobs))
        await mill.close()

    return cancel


def _calls(run: Trial, address: str, expressions: list[am.Array]) -> Cancel:
    mill = run.client(address)
    tasks = [asyncio.ensure_future(mill.compute(expression)) for expression in expressions]

    async def cancel() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await mill.close()

    return cancel


KINDS: Final[Mapping[str, Begin]] = {
    "computing": _computing,
    "hanging": _hanging,
    "receiving": _receiving,
    "sending": _sending,
    "submitted": _submitted,
}
