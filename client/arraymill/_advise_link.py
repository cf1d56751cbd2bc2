"""Measuring the way between a client and its server.

Jobs that compute next to nothing go there and back, as every job of this client does: so what is measured is the lane
that its arrays take. A sum brings many bytes up and one number down; a column plus a row brings some numbers up and
many bytes down; square roots both. Each size is tried a few times, the median counts, and a size is left out that would
take too long on a slow wire, where it would tell nothing new. Nothing is kept on the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import monotonic, perf_counter
from typing import Final

import numpy as np

from arraymill._address import is_same_host
from arraymill._advise_model import LaneRate, LinkFigures
from arraymill._array import Array, asarray
from arraymill._bulk import LEAST_BYTES
from arraymill._caller import SMALL_BYTES, Caller
from arraymill._expression import expression_of
from arraymill._graph import Computation, build
from arraymill._info import JobTimes, Progress, ProgressCallback
from arraymill._limits import Remaining
from arraymill._memory_route import LEAST_BYTES as LEAST_SHARED_BYTES
from arraymill._transfer import Options
from arraymill_proto.v1 import arraymill_pb2 as pb

ROUND_TRIPS: Final = 20
"""Jobs of some numbers; the first ones, which open the connection, are not counted."""

WARM_UP: Final = 3

PROBES: Final = (256 << 10, 4 << 20, 2 * LEAST_BYTES)
"""Bytes that are sent there and back: one for slow wires, one for each way that arrays of this client go."""

PROBE_SECONDS: Final = 0.5
"""What one direction of a size may take as far as is known; else the size is left out. The smallest is never."""

TRIES: Final = 3

PATIENCE_SECONDS: Final = 2.0
"""After which a job is not tried again. A first try alone may have met something else that took long."""

LEAST_SHARE: Final = 0.2
"""Of the time of a job that counts as its bytes' at least: where less is left beside its start, the two are not told
apart."""

_SHORTEST_SECONDS: Final = 1e-3
"""Of a job that begins when no time is left: the end of the measurement comes before its own."""

_ROW: Final = 1 << 10
"""Elements of float64."""


class Probe:
    """Runs small jobs of a client, within a time, and measures them.

    Args:
        caller: Of the client.
        remaining: Of all of the measurement.
    """

    def __init__(self, caller: Caller, remaining: Remaining) -> None:
        self._caller = caller
        self._remaining = remaining

    async def info(self) -> pb.ServerInfo:
        """Return what the server said of itself when it was asked."""
        return await self._caller.ready(self._remaining)

    async def run(self, job: Computation) -> tuple[float, JobTimes | None]:
        """Run a job that reports; return the seconds that it took, and how the server says that they went."""
        reports: list[Progress] = []
        return await self._seconds(job, reports.append), reports[-1].times if reports else None

    async def median_seconds(self, job: Computation, tries: int = TRIES) -> float:
        """Return the median time of a job that is tried so often, or as long as PATIENCE_SECONDS last."""
        seconds: list[float] = []
        end = monotonic() + PATIENCE_SECONDS
        while not seconds or (len(seconds) < tries and monotonic() < end):
            seconds.append(await self._seconds(job))
        return median(seconds)

    async def _seconds(self, job: Computation, progress: ProgressCallback | None = None) -> float:
        """Run a job as callers do; one that reports has a stream where it might do without."""
        left = self._remaining()
        options = Options(None if left is None else max(left, _SHORTEST_SECONDS), progress=progress)
        begin = perf_counter()
        await self._caller.run(job, options)
        return perf_counter() - begin

    async def needs_no_stream(self, info: pb.ServerInfo) -> bool:
        """Tell whether jobs of large inputs and small results go through shared memory, and are messages otherwise."""
        return info.pipelines and await self._caller.share(info)

    def lane_name(self, nbytes: int, info: pb.ServerInfo) -> str:
        """Return how the client sends so many bytes, after what it has learnt of the server."""
        if self._caller.shares(nbytes):
            return "shared"
        options = self._caller.options(_upward(nbytes), Options(), info)
        return "frames" if options.bulk is None else "bulk"

    def shares_cores(self, info: pb.ServerInfo) -> bool:
        """Tell whether the workers leave no two cores of this machine to the client and the server's event loop."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return is_same_host(self._caller.connection.address) and info.workers + 2 > cores


async def measure_link(probe: Probe) -> LinkFigures:
    """Measure; takes about a second.

    Cancelling it cancels the job that is under way; nothing is left on the server.

    Raises:
        ArraymillError: What the server or the connection has to say.
    """
    info = await probe.info()
    small_bytes = min(SMALL_BYTES, info.unary_bytes)
    first = _upward(8 * 8)
    await probe.median_seconds(first, WARM_UP)
    round_trip = await probe.median_seconds(first, ROUND_TRIPS)
    start = max(await _stream_start(probe, small_bytes + 8 * _ROW), round_trip)
    shared = max(await _shared_start(probe), round_trip) if await probe.needs_no_stream(info) else None
    trips = await _there_and_back(probe, start, shared)
    return LinkFigures(
        round_trip_seconds=round_trip,
        stream_seconds=start,
        small_bytes=small_bytes,
        lanes=_lanes(trips, lambda nbytes: probe.lane_name(nbytes, info)),
        overlap=await _overlap(probe, trips[-1], start),
        workers=info.workers,
        arena_bytes=info.arena_bytes,
        resident_budget_bytes=info.resident_budget_bytes,
        shares_cores=probe.shares_cores(info),
        shared_seconds=shared,
    )


@dataclass(frozen=True, slots=True)
class _Trip:
    """So many bytes, and the seconds that they took beside the start of their job."""

    nbytes: int
    up: float
    down: float


async def _stream_start(probe: Probe, nbytes: int) -> float:
    """Return what a streamed job takes beside its bytes."""
    return await _start(probe, nbytes, PROBES[0])


async def _shared_start(probe: Probe) -> float:
    """Return what a job takes beside its bytes that go through shared memory, while its result is small."""
    return await _start(probe, LEAST_SHARED_BYTES, PROBES[1])


async def _start(probe: Probe, less: int, more: int) -> float:
    """Return what a line through the times of two sizes says of none."""
    little = await probe.median_seconds(_upward(less), ROUND_TRIPS)
    much = await probe.median_seconds(_upward(more), ROUND_TRIPS)
    return little - less * max(much - little, 0.0) / (more - less)


async def _there_and_back(probe: Probe, start: float, shared: float | None) -> list[_Trip]:
    trips: list[_Trip] = []
    for nbytes in PROBES:
        if trips and max(trips[-1].up, trips[-1].down) * nbytes / trips[-1].nbytes > PROBE_SECONDS:
            break
        up = await probe.median_seconds(_upward(nbytes))
        down = await probe.median_seconds(_downward(nbytes))
        begin = start if shared is None or nbytes < LEAST_SHARED_BYTES else shared
        trips.append(_Trip(nbytes, _without(begin, up), _without(start, down)))
    return trips


def _lanes(trips: list[_Trip], name: Callable[[int], str]) -> tuple[LaneRate, ...]:
    """Return the rates of the lanes, each from its least size on; the largest that was tried counts."""
    found: dict[str, LaneRate] = {}
    for trip in trips:
        lane = name(trip.nbytes)
        least = found[lane].least_bytes if lane in found else _least_bytes(trip.nbytes)
        found[lane] = LaneRate(lane, least, trip.nbytes / trip.up, trip.nbytes / trip.down)
    first, *others = found.values()
    return (replace(first, least_bytes=0), *others)


def _least_bytes(nbytes: int) -> int:
    """Return the size from which a client may send as it sends so many bytes."""
    return max(least for least in (0, LEAST_SHARED_BYTES, LEAST_BYTES) if least <= nbytes)


async def _overlap(probe: Probe, trip: _Trip, start: float) -> float:
    """Return how much of the shorter direction hides behind the longer one, 0 to 1."""
    both = _without(start, await probe.median_seconds(_both_ways(trip.nbytes)))
    hidden = trip.up + trip.down - both
    return min(max(hidden / min(trip.up, trip.down), 0.0), 1.0)


def _without(start: float, seconds: float) -> float:
    return max(seconds - start, LEAST_SHARE * seconds)


def _upward(nbytes: int) -> Computation:
    return _job(asarray(np.ones(nbytes // 8)).sum())


def _downward(nbytes: int) -> Computation:
    column, row = np.ones((nbytes // 8 // _ROW, 1)), np.ones((1, _ROW))
    return _job(asarray(column) + asarray(row))


def _both_ways(nbytes: int) -> Computation:
    return _job(asarray(np.ones(nbytes // 8)) ** 0.5)


def _job(array: Array) -> Computation:
    return build([expression_of(array)])
