"""What the server tells: about itself, its arrays, and a job's progress and times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from arraymill_proto.codec import type_from_pb
from arraymill_proto.graph import ArrayType, Shape
from arraymill_proto.v1 import arraymill_pb2 as pb


@dataclass(frozen=True, slots=True)
class OperationInfo:
    """An operation that a server offers."""

    name: str
    kind: str
    """elementwise, reduction or scan."""
    min_args: int
    max_args: int
    params: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Versions, limits, load and operations of a server."""

    version: str
    numpy_version: str
    protocol: int
    oldest_protocol: int
    """The oldest protocol of a client that it serves."""
    workers: int
    arena_bytes: int
    arena_free_bytes: int
    frame_bytes: int
    """Largest frame that it accepts."""
    message_bytes: int
    """Largest message that it accepts."""
    unary_bytes: int
    """Largest sum of inputs, and of results, of a call in one message."""
    max_nodes: int
    max_dimensions: int
    operations: tuple[OperationInfo, ...]
    running_jobs: int
    waiting_jobs: int
    uptime_seconds: float
    bulk_port: int
    """Where large arrays may travel beside gRPC; 0 for nowhere."""
    shared_bytes: int = field(default=0, kw_only=True)
    """Memory that it shares with clients on its machine."""
    shared_budget_bytes: int = field(default=0, kw_only=True)
    """How much of it there may be; 0: it shares none."""
    max_wait_seconds: float
    """Longest wait for a submitted job in one call; a client asks again by itself."""
    resident_bytes: int = 0
    """What the arrays that it keeps take."""
    resident_budget_bytes: int = 0
    """What they may take."""
    worker_endings: Mapping[str, int] = field(default_factory=dict[str, int])
    """Workers replaced since its start, by the reason of their end."""
    recycled_workers: int = 0
    """Workers replaced because they were worn."""
    fenced_workers: int = 0
    """Workers that cannot be killed."""
    connections: int = 0
    """Connections of clients, idle ones too."""
    job_calls: int = 0
    """Calls that run jobs."""
    max_job_calls: int = 0
    waiting_calls: int = 0
    """Calls that wait for a job, or for their client."""
    feeding_calls: int = 0
    """Calls that bring the arrays of submitted jobs."""
    refused_calls: int = 0
    """Calls for which there was no place, since its start."""
    busy_workers: int = 0
    """Workers with something to do."""
    arena_largest_free_bytes: int = 0
    """The largest free piece of the arena."""
    arena_reserved_bytes: int = 0
    """What running jobs hold of the arena; the rest of what is not free is of kept arrays."""
    ended_jobs: Mapping[str, int] = field(default_factory=dict[str, int])
    """Jobs that have ended since its start, by outcome: succeeded, failed, cancelled, refused."""
    received_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of arrays that clients have brought since its start, by their way: inline, grpc, bulk, memory."""
    sent_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of arrays that clients have got, likewise."""
    refusals: Mapping[str, int] = field(default_factory=dict[str, int])
    """Jobs turned away before they ran, and other calls answered with an error, since its start, by reason."""
    loop_lag_seconds: float = 0.0
    """The most by which it was late for its own clock in the last seconds."""


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """An array that the server keeps."""

    id: str
    name: str
    """Empty when it has none."""
    shape: Shape
    dtype: np.dtype[np.generic]
    nbytes: int
    ttl_seconds: float
    """Seconds after its last use until the server deletes it."""
    expires_in_seconds: float
    """Seconds until the server deletes it unless it is used."""
    age_seconds: float

    @property
    def type(self) -> ArrayType:
        """Shape and dtype."""
        return ArrayType(self.shape, self.dtype)


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Where the time of a job went, in seconds, and its bytes. Phases overlap: they do not add up to `total`."""

    total: float
    queued: float
    """Waiting for memory."""
    received: float
    """From the first request for input until the last input byte."""
    computed: float
    """Time of workers, summed over workers."""
    merged: float
    """Combining partial results."""
    sent: float
    """Writing results."""
    received_bytes: int
    sent_bytes: int
    blocks: int
    passes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    received_bytes: int
    """Input bytes that the server has."""
    blocks_done: int
    blocks: int
    """Blocks of work in all passes; the job is done when all are."""
    times: JobTimes | None = None
    """Where the time went: only in the last report of a job."""


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Called in the event loop's thread; it must not block."""


def server_info(message: pb.ServerInfo) -> ServerInfo:
    """Read a server's answer."""
    return ServerInfo(
        version=message.version,
        numpy_version=message.numpy_version,
        protocol=message.protocol,
        oldest_protocol=message.oldest_protocol,
        workers=message.workers,
        arena_bytes=message.arena_bytes,
        arena_free_bytes=message.arena_free_bytes,
        frame_bytes=message.frame_bytes,
        message_bytes=message.message_bytes,
        unary_bytes=message.unary_bytes,
        max_nodes=message.max_nodes,
        max_dimensions=message.max_dimensions,
        operations=tuple(map(_operation_info, message.operations)),
        running_jobs=message.running_jobs,
        waiting_jobs=message.waiting_jobs,
        uptime_seconds=message.uptime_seconds,
        bulk_port=message.bulk_port,
        shared_bytes=message.shared_bytes,
        shared_budget_bytes=message.shared_budget_bytes,
        max_wait_seconds=message.max_wait_seconds,
        resident_bytes=message.resident_bytes,
        resident_budget_bytes=message.resident_budget_bytes,
        worker_endings=dict(message.worker_endings),
        recycled_workers=message.recycled_workers,
        fenced_workers=message.fenced_workers,
        connections=message.connections,
        job_calls=message.job_calls,
        max_job_calls=message.max_job_calls,
        waiting_calls=message.waiting_calls,
        feeding_calls=message.feeding_calls,
        refused_calls=message.refused_calls,
        busy_workers=message.busy_workers,
        arena_largest_free_bytes=message.arena_largest_free_bytes,
        arena_reserved_bytes=message.arena_reserved_bytes,
        ended_jobs=dict(message.ended_jobs),
        received_bytes=dict(message.received_bytes),
        sent_bytes=dict(message.sent_bytes),
        refusals=dict(message.refusals),
        loop_lag_seconds=message.loop_lag_seconds,
    )


def _operation_info(message: pb.OperationInfo) -> OperationInfo:
    return OperationInfo(
        name=message.name,
        kind=message.kind,
        min_args=message.min_args,
        max_args=message.max_args,
        params=tuple(message.params),
        summary=message.summary,
    )


def array_info(message: pb.ArrayInfo) -> ArrayInfo:
    """Read the description of a resident array."""
    type = type_from_pb(message.type)
    return ArrayInfo(
        id=message.id,
        name=message.name,
        shape=type.shape,
        dtype=type.dtype,
        nbytes=message.bytes,
        ttl_seconds=message.ttl_seconds,
        expires_in_seconds=message.expires_in_seconds,
        age_seconds=message.age_seconds,
    )


def job_times(message: pb.JobTimes) -> JobTimes:
    """Read the time split of a job."""
    return JobTimes(
        total=message.total,
        queued=message.queued,
        received=message.received,
        computed=message.computed,
        merged=message.merged,
        sent=message.sent,
        received_bytes=message.received_bytes,
        sent_bytes=message.sent_bytes,
        blocks=message.blocks,
        passes=message.passes,
    )
