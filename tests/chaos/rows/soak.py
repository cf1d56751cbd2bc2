"""Row of the table: hours of everyday life, with a misfortune now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final

import numpy as np
from chaos.figures import milliseconds, slope
from chaos.ledger import Outcome
from chaos.load import Load, latencies
from chaos.oracle import LARGEST_BYTES
from chaos.trial import Trial

import arraymill as am
from arraymill_server.testing.orders import DEADLY, HANGING, Blow, Point, mark
from arraymill_server.testing.proxy import Proxy

NAMES: Final = ("death", "hang", "cut", "reset", "poison", "held")
"""What can go wrong."""

SAMPLES: Final = 600
"""Looks at the server in all, but not more often than LOOK_SECONDS: each takes some 20 ms."""

LOOK_SECONDS: Final = 0.2

SETTLING: Final = 0.3
"""Part of the time in which caches fill and pools grow to their sizes; it does not count. Of half an hour of load the
heap had its size after nine minutes."""

FLOORS: Final = 24
"""Into so many spans the rest of the time is cut; the least private memory of each counts. Under load it swings by a
third of its size as frames come and go, and what is free goes back to the kernel four times a minute
(`arraymill_server.app.malloc`): what stays is what grows."""

PRIVATE_GROWTH: Final = 0.03
"""Part of its size by which private memory may grow over the rest of the time: the noise of its floors."""

SHARED_GROWTH: Final = 1 << 20
"""Bytes by which shared memory may not grow: less than any segment has."""

WORTH_JUDGING_SECONDS: Final = 240.0
"""Slopes of less time are noise."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server has at a moment."""

    at: float
    private: int
    """Bytes that the processes of the whole family have for themselves."""
    shared: int
    """Bytes shared with clients."""
    descriptors: int
    threads: int


async def soak(
    run: Trial,
    *,
    minutes: float = 30.0,
    pause: float = 60.0,
    clients: int = 4,
    largest: int = LARGEST_BYTES,
    names: Sequence[str] = NAMES,
) -> None:
    """A steady load with a fault every so many seconds."""
    seconds = 60 * minutes
    proxy = await run.proxy()
    load = Load(run.plan.seed, largest=largest, in_flight=2, timeout=300)
    over, told = asyncio.Event(), dict[str, int]()
    working = [
        asyncio.ensure_future(load.run_steadily(partial(run.client, address), clients, run.ledger, over, first=first))
        for first, address in ((0, run.site.address), (1 << 32, run.address()))
    ]
    troubling = asyncio.ensure_future(_trouble(run, proxy, names, pause, told))
    samples = await sample(run, seconds)
    troubling.cancel()
    over.set()
    await asyncio.gather(*working)
    run.figures["faults"] = ", ".join(f"{count} {name}" for name, count in sorted(told.items()))
    run.figures["calls"] = f"{len(run.ledger.calls)}, failed {len(run.ledger.of(Outcome.FAILED))}"
    run.figures["time of a call"] = milliseconds(latencies(run.ledger.calls), 50, 99)
    judge_growth(run, samples)


async def sample(run: Trial, seconds: float) -> list[Sample]:
    """Look at the server now and then."""
    begin, samples = monotonic(), list[Sample]()
    while monotonic() < begin + seconds:
        await asyncio.sleep(max(seconds / SAMPLES, LOOK_SECONDS))
        private = await asyncio.to_thread(run.site.private_bytes)
        shared, descriptors = run.site.shared_bytes(), run.site.process.num_fds()
        samples.append(Sample(monotonic() - begin, private, shared, descriptors, run.site.threads()))
    return samples


async def _trouble(run: Trial, proxy: Proxy, names: Sequence[str], pause: float, told: dict[str, int]) -> None:
    """Let one thing after the other go wrong."""
    while True:
        await asyncio.sleep(pause)
        name = run.random.choice(names)
        told[name] = told.get(name, 0) + 1
        match name:
            case "death":
                run.book.order(run.random.choice(DEADLY), run.random.choice(list(Point)))
            case "hang":
                run.book.order(run.random.choice(HANGING), Point.COMPUTE)
            case "cut":
                proxy.cut()
            case "reset":
                proxy.reset()
            case "held":
                proxy.hold()
                asyncio.get_running_loop().call_later(2.0, proxy.release)
            case _:
                await _poison(run)


async def _poison(run: Trial) -> None:
    async with run.client() as mill:
        with run.ledger.call("poison", timeout=60, expects=am.WorkerError) as call:
            await mill.compute((am.asarray(np.ones(1 << 16)) + mark(Blow.ABORT)).sum(), timeout=60)
            call.check(is_right=False)


def judge_growth(run: Trial, samples: Sequence[Sample], *, least: float = WORTH_JUDGING_SECONDS) -> None:
    """Tell the slopes, and hold the server to them where there was time enough."""
    kept = samples[int(SETTLING * len(samples)) :]
    if len(kept) < 2:
        return
    span = kept[-1].at - kept[0].at
    growth = {
        name: span * slope([(sample.at, getattr(sample, name)) for sample in chosen])
        for name, chosen in (("private", _floors(kept)), ("shared", kept), ("descriptors", kept), ("threads", kept))
    }
    for name in ("private", "shared"):
        size, rate = getattr(kept[-1], name) / (1 << 20), growth[name] / (1 << 20) * 3600 / span
        run.figures[f"{name} memory"] = f"{size:.0f} MiB, {rate:+.1f} MiB/h"
    run.figures["descriptors"] = f"{kept[-1].descriptors}, {growth['descriptors'] * 3600 / span:+.2f}/h"
    run.figures["threads"] = f"{kept[-1].threads}, {growth['threads'] * 3600 / span:+.2f}/h"
    if span < least:
        return
    bounds = {"private": PRIVATE_GROWTH * _floors(kept)[0].private, "shared": SHARED_GROWTH}
    run.complaints += [
        f"{name} memory grew by {growth[name] / (1 << 20):.1f} MiB, may by {bound / (1 << 20):.1f}"
        for name, bound in bounds.items()
        if growth[name] > bound
    ]
    run.complaints += [f"{name} grew by {growth[name]:.1f}" for name in ("descriptors", "threads") if growth[name] >= 1]


def _floors(samples: Sequence[Sample]) -> list[Sample]:
    """Return the sample with the least private memory of each span."""
    length = max(1, len(samples) // FLOORS)
    spans = (samples[begin : begin + length] for begin in range(0, len(samples), length))
    return [min(span, key=lambda sample: sample.private) for span in spans]
