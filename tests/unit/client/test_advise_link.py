"""Measuring a wire whose speed is known."""

from __future__ import annotations

import pytest

from arraymill._advise_link import PROBES, TRIES, Probe, measure_link
from arraymill._bulk import LEAST_BYTES
from arraymill._graph import Computation
from arraymill_proto.limits import UNARY_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

INFO = pb.ServerInfo(workers=3, unary_bytes=UNARY_BYTES, arena_bytes=1 << 30, resident_budget_bytes=1 << 29)


class Wire(Probe):
    """Takes as long as it is told, in no time.

    Attributes:
        up: Bytes per second to the server.
        down: Bytes per second from it.
        overlap: How much of the shorter way hides behind the longer.
        bulk: How many times faster large arrays are.
        largest: The most bytes that were sent or fetched.
    """

    def __init__(self, up: float = 1e9, down: float = 5e8, overlap: float = 0.5, bulk: float = 2.0) -> None:
        self.up, self.down, self.overlap, self.bulk = up, down, overlap, bulk
        self.largest = 0
        self.is_shared = False

    async def info(self) -> pb.ServerInfo:
        return INFO

    async def median_seconds(self, job: Computation, tries: int = TRIES) -> float:
        nbytes = max(job.input_bytes, job.result_bytes)
        self.largest = max(self.largest, nbytes)
        if nbytes <= 64 << 10:
            return 0.001
        if self.is_shared and job.input_bytes >= 1 << 20 and job.result_bytes <= 64 << 10:
            return 0.002 + job.input_bytes / self.up / 4
        faster = self.bulk if nbytes >= LEAST_BYTES else 1.0
        ways = job.input_bytes / self.up / faster, job.result_bytes / self.down / faster
        return 0.005 + max(ways) + (1 - self.overlap) * min(ways)

    async def needs_no_stream(self, info: pb.ServerInfo) -> bool:
        return self.is_shared

    def lane_name(self, nbytes: int, info: pb.ServerInfo) -> str:
        if self.is_shared and nbytes >= 1 << 20:
            return "shared"
        return "bulk" if nbytes >= LEAST_BYTES else "frames"

    def shares_cores(self, info: pb.ServerInfo) -> bool:
        return False


async def test_a_fast_wire() -> None:
    link = await measure_link(Wire())
    assert link.round_trip_seconds == 0.001
    assert link.stream_seconds == pytest.approx(0.005, rel=0.05)
    assert link.small_bytes == 64 << 10
    assert (link.workers, link.arena_bytes, link.resident_budget_bytes) == (3, 1 << 30, 1 << 29)
    assert [(lane.name, lane.least_bytes) for lane in link.lanes] == [("frames", 0), ("bulk", LEAST_BYTES)]
    assert [lane.up_bytes_per_second for lane in link.lanes] == pytest.approx([1e9, 2e9], rel=0.05)
    assert [lane.down_bytes_per_second for lane in link.lanes] == pytest.approx([5e8, 1e9], rel=0.05)
    assert link.overlap == pytest.approx(0.5, abs=0.05)


async def test_memory_that_is_shared() -> None:
    wire = Wire()
    wire.is_shared = True
    link = await measure_link(wire)
    assert [(lane.name, lane.least_bytes) for lane in link.lanes] == [("frames", 0), ("shared", 1 << 20)]
    assert link.is_shared
    assert link.shared_seconds == pytest.approx(0.002, rel=0.05), "a job that needs no stream begins sooner"
    assert link.lanes[1].up_bytes_per_second == pytest.approx(4e9, rel=0.05), "and that is not the fault of its bytes"
    assert link.lanes[1].down_bytes_per_second == pytest.approx(1e9, rel=0.05), "large results have a stream"


async def test_without_shared_memory_large_jobs_have_streams() -> None:
    link = await measure_link(Wire())
    assert (link.shared_seconds, link.is_shared) == (None, False)


async def test_a_slow_wire_is_not_made_to_carry_much() -> None:
    wire = Wire(up=1e6, down=1e8)
    link = await measure_link(wire)
    assert wire.largest == PROBES[0]
    (lane,) = link.lanes
    assert lane.name == "frames"
    assert lane.up_bytes_per_second == pytest.approx(1e6, rel=0.3)
    assert link.lane(1 << 40) is lane


async def test_what_cannot_be_told_apart_has_some_rate() -> None:
    link = await measure_link(Wire(up=1e15, down=1e15))
    assert all(lane.up_bytes_per_second > 0 for lane in link.lanes)
    assert 0 <= link.overlap <= 1


@pytest.mark.parametrize("overlap", [-3.0, 4.0])
async def test_overlap_is_a_part(overlap: float) -> None:
    assert (await measure_link(Wire(overlap=overlap))).overlap == (0.0 if overlap < 0 else 1.0)
