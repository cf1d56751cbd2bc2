"""What a server may say, for tests of `top`."""

from __future__ import annotations

from typing import Any

from arraymill import JobStatus, ServerInfo
from arraymill._info import server_info
from arraymill._job_info import job_status
from arraymill_proto.v1 import arraymill_pb2 as pb

MIB = 1 << 20


def info_of(**fields: Any) -> ServerInfo:
    """Return what a server says of itself."""
    usual: dict[str, Any] = {
        "version": "1.2.3",
        "workers": 4,
        "busy_workers": 3,
        "arena_bytes": 128 * MIB,
        "arena_free_bytes": 64 * MIB,
        "arena_largest_free_bytes": 16 * MIB,
        "arena_reserved_bytes": 48 * MIB,
        "resident_bytes": 16 * MIB,
        "resident_budget_bytes": 64 * MIB,
        "max_job_calls": 2048,
        "connections": 1,
    }
    return server_info(pb.ServerInfo(**{**usual, **fields}))


def earlier_info(**fields: Any) -> ServerInfo:
    """Return what a server of an earlier version says: nothing that is counted."""
    unknown = ("busy_workers", "arena_largest_free_bytes", "arena_reserved_bytes")
    return info_of(**dict.fromkeys(unknown, 0), **fields)


def jobs_of(count: int, **fields: Any) -> tuple[JobStatus, ...]:
    """Return submitted jobs that run."""
    usual: dict[str, Any] = {"state": pb.JOB_RUNNING, "blocks": 40, "blocks_done": 10, "priority": 5}
    told: list[dict[str, Any]] = [{**usual, "key": f"night-{number}", **fields} for number in range(count)]
    return tuple(
        job_status(pb.Job(id=f"{number:016x}", age_seconds=3600.0 - number, **each)) for number, each in enumerate(told)
    )
