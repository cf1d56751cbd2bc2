"""Advice: measures the wire, NumPy here and the server's workers once, and lets the model of `_advise_model` speak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from time import monotonic
from typing import Final, ParamSpec, TypeVar

from arraymill._advise_link import Probe, measure_link
from arraymill._advise_model import Advice, LinkFigures, LinkMemory, WorkFigures
from arraymill._advise_sample import FIRST_BYTES, TINY_BYTES, Extent, NumpyTimes, extent, halved, sample, time_numpy
from arraymill._caller import Caller
from arraymill._expression import Expression
from arraymill._graph import build
from arraymill._limits import Remaining, checked_seconds, within

P = ParamSpec("P")
T = TypeVar("T")

LIMIT_SECONDS: Final = 60.0
"""What measuring may take where nobody says otherwise: some 2 s, and more on a slow wire."""

SENT_SECONDS: Final = 0.2
"""What sending a sample to the workers may take, as far as the wire is known."""

TRIES: Final = 3


async def advise(
    caller: Caller, memory: LinkMemory, expression: Expression, max_age: float, timeout: float | None
) -> Advice:
    """Measure what is not known yet, one after the other: measurements must not disturb each other.

    Raises:
        ArraymillError: What the server or the connection has to say.
    """
    if max_age != 0:
        checked_seconds("max_age", max_age)
    async with within(caller.limit(timeout, LIMIT_SECONDS)) as remaining, memory.lock:
        link = await _known_link(caller, memory, max_age, remaining)
        return Advice(link, await _measure_work(Probe(caller, remaining), link, expression))


async def _known_link(caller: Caller, memory: LinkMemory, oldest: float, remaining: Remaining) -> LinkFigures:
    if memory.link is None or monotonic() - memory.measured_at > oldest:
        memory.link = await measure_link(Probe(caller, remaining))
        memory.measured_at = monotonic()
    return memory.link


async def _measure_work(probe: Probe, link: LinkFigures, expression: Expression) -> WorkFigures:
    whole = extent(expression)
    half, numpy, sent = await _aside(_measure_here, link, expression)
    shorter = whole.input_bytes - half.input_bytes
    server_seconds, passes = await _time_workers(probe, sent)
    return WorkFigures(
        input_bytes=whole.input_bytes,
        stored_bytes=whole.stored_bytes,
        result_bytes=whole.result_bytes,
        result_growth=(whole.result_bytes - half.result_bytes) / shorter if shorter else 0.0,
        touched_bytes=whole.touched_bytes,
        passes=passes,
        overhead_seconds=numpy.overhead_seconds,
        local_seconds_per_byte=numpy.seconds_per_byte,
        server_seconds_per_byte=server_seconds,
        sample_bytes=numpy.sample_bytes,
        placed_bytes=whole.placed_bytes if link.is_shared else 0,
    )


async def _aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function on a thread that ends with it: those of an event loop stay.

    Cancelling this leaves the function to its end, which for samples is near.
    """
    thread = ThreadPoolExecutor(1, "arraymill advice")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, partial(function, *args, **kwargs))
    finally:
        thread.shutdown(wait=False)


def _measure_here(link: LinkFigures, expression: Expression) -> tuple[Extent, NumpyTimes, Expression]:
    """Return the extent of half of it, what NumPy takes for it, and the sample for the workers."""
    half, numpy = halved(expression), time_numpy(expression)
    return half, numpy, sample(expression, _sent_bytes(link, expression, numpy))


def _sent_bytes(link: LinkFigures, expression: Expression, numpy: NumpyTimes) -> int:
    """Return the bytes touched by a sample that the wire carries in SENT_SECONDS."""
    whole = extent(expression)
    lane = link.lanes[-1]
    seconds = whole.input_bytes / lane.up_bytes_per_second + whole.result_bytes / lane.down_bytes_per_second
    share = SENT_SECONDS / TRIES / seconds if seconds else 1.0
    return int(min(max(share * whole.touched_bytes, TINY_BYTES), max(numpy.sample_bytes, FIRST_BYTES)))


async def _time_workers(probe: Probe, expression: Expression) -> tuple[float, int]:
    """Return the seconds of workers, summed over them, for each byte touched, and the passes over the inputs."""
    job, touched = build([expression]), extent(expression).touched_bytes
    seconds: list[float] = []
    passes = 1
    while len(seconds) < TRIES:
        _, times = await probe.run(job)
        assert times is not None, "the last report of a job tells its times"
        seconds.append(times.computed)
        passes = max(times.passes, 1)
    return median(seconds) / touched if touched else 0.0, passes
