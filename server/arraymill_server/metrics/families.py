"""The metrics that a server has: names, kinds, labels and what they mean. `server/DESIGN.md` shows the table.

Names follow the conventions of Prometheus: base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from arraymill_server.metrics.counts import Histogram

Labels: TypeAlias = tuple[str, ...]
Value: TypeAlias = "float | Histogram"
Reading: TypeAlias = Mapping[str, "Value | Mapping[Labels, Value]"]
"""Values of all families at one time: a value alone, or one for each tuple of labels."""


class UnreadableError(Exception):
    """The values cannot be read now; the text says why. Raised by whoever provides them."""


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    """Only grows, from the start of the server on."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

FAMILIES: Final = (
    Family(
        "arraymill_build_info",
        _G,
        "Versions of the server, of Python and of NumPy; always 1.",
        ("version", "python", "numpy"),
    ),
    Family(
        "arraymill_jobs_total",
        _C,
        "Jobs that have ended, by operation (the catalogue's name; expression: several; put, get: none; unknown: "
        "refused unread) and outcome (succeeded, failed, cancelled, refused).",
        ("operation", "outcome"),
    ),
    Family(
        "arraymill_job_duration_seconds",
        _H,
        "Times of jobs that have succeeded, by phase (queued, received, computed, merged, sent, total). Phases "
        "overlap, and computed is the time of all workers together.",
        ("phase",),
    ),
    Family("arraymill_jobs_running", _G, "Jobs that have their memory."),
    Family("arraymill_jobs_waiting", _G, "Jobs that wait for memory."),
    Family("arraymill_arena_bytes", _G, "Size of the arena."),
    Family("arraymill_arena_used_bytes", _G, "What is taken of the arena, by jobs and by resident arrays."),
    Family("arraymill_arena_reserved_bytes", _G, "What running jobs have reserved of the arena."),
    Family("arraymill_arena_largest_free_bytes", _G, "The largest free piece of the arena."),
    Family("arraymill_resident_bytes", _G, "What resident arrays take of the arena."),
    Family("arraymill_resident_budget_bytes", _G, "What resident arrays may take of the arena."),
    Family("arraymill_shared_memory_bytes", _G, "Memory that is shared with clients, beside the arena."),
    Family("arraymill_shared_memory_budget_bytes", _G, "Memory that may be shared with clients."),
    Family("arraymill_workers", _G, "Workers that take tasks."),
    Family("arraymill_workers_busy", _G, "Workers with at least one task."),
    Family(
        "arraymill_worker_restarts_total",
        _C,
        "Workers that were replaced, by the cause of their end (recycled: they were worn).",
        ("cause",),
    ),
    Family(
        "arraymill_received_bytes_total",
        _C,
        "Bytes of arrays that came from clients, by transport (inline: in a job's message; grpc: in frames; bulk; "
        "memory: shared, where few of them move).",
        ("transport",),
    ),
    Family(
        "arraymill_sent_bytes_total",
        _C,
        "Bytes of arrays that went to clients, by transport (as received).",
        ("transport",),
    ),
    Family(
        "arraymill_refusals_total",
        _C,
        "Jobs that were refused before they ran, and other calls that were answered with an error, by the reason of "
        "the error.",
        ("reason",),
    ),
    Family(
        "arraymill_event_loop_lag_seconds",
        _H,
        "By how much the event loop was late; looked at often while there are jobs.",
    ),
    Family("arraymill_connections", _G, "Connections of clients, idle ones too; up to a second old."),
    Family(
        "arraymill_calls",
        _G,
        "Open calls, by kind (job: runs one; waiting: for a job or its client; feeding).",
        ("kind",),
    ),
)
"""All but those of the process: the client library knows them."""
