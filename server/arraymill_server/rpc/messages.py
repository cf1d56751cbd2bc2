"""Values of the server as generated messages."""

from __future__ import annotations

from typing import Final

import numpy as np

from arraymill_proto.catalogue import OPERATIONS
from arraymill_proto.codec import type_to_pb
from arraymill_proto.errors import ArraymillError
from arraymill_proto.graph import Order
from arraymill_proto.limits import (
    FRAME_BYTES,
    MAX_DIMENSIONS,
    MAX_NODES,
    MAX_WAIT_SECONDS,
    MESSAGE_BYTES,
    OLDEST_PROTOCOL,
    PROTOCOL,
    UNARY_BYTES,
)
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import EngineStatus
from arraymill_server.jobs.board import Board
from arraymill_server.jobs.exchange import Started
from arraymill_server.jobs.life import State
from arraymill_server.jobs.request import Report
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.submitted import SubmittedJob
from arraymill_server.plan.model import ResultSpec, Wanted
from arraymill_server.rpc.calls import Calls


def wire_order(order: Order) -> Order:
    """An order as the wire spells it: empty when it is C order."""
    return () if order == tuple(range(len(order))) else order


def accepted(started: Started, bulk: pb.Bulk | None, memory_job: int = 0) -> bytes:
    message = pb.Accepted(
        job_id=started.job_id,
        reserved_bytes=started.reserved_bytes,
        blocks=started.blocks,
        bulk=bulk,
        memory_job=memory_job,
        memory_outputs=started.is_placed,
    )
    return pb.RunResponse(accepted=message).SerializeToString()


def header(started: Started) -> bytes:
    results = [_result(result) for result in started.results]
    return pb.RunResponse(header=pb.ResultHeader(results=results)).SerializeToString()


def _result(result: ResultSpec) -> pb.Result:
    return pb.Result(type=type_to_pb(result.type), order=wire_order(result.order))


def want(number: int, wanted: Wanted) -> bytes:
    message = pb.Want(
        want=number,
        index=wanted.number,
        offset=wanted.offset,
        length=wanted.nbytes,
        order=wire_order(wanted.order),
    )
    return pb.RunResponse(want=message).SerializeToString()


def progress(received_bytes: int, blocks_done: int, blocks: int) -> bytes:
    message = pb.Progress(received_bytes=received_bytes, blocks_done=blocks_done, blocks=blocks)
    return pb.RunResponse(progress=message).SerializeToString()


def bulk_ended() -> bytes:
    return pb.RunResponse(bulk_ended=pb.BulkEnded()).SerializeToString()


def done(report: Report, residents: Residents) -> bytes:
    array = array_info(report.arrays[0], residents) if report.arrays else None
    return pb.RunResponse(done=pb.Done(times=job_times(report), array=array)).SerializeToString()


def job_times(report: Report) -> pb.JobTimes:
    times = report.times
    return pb.JobTimes(
        total=times.total,
        queued=times.queued,
        received=times.received,
        computed=times.computed,
        merged=times.merged,
        sent=times.sent,
        received_bytes=report.received_bytes,
        sent_bytes=report.sent_bytes,
        blocks=report.blocks,
        passes=report.passes,
    )


def array_info(array: ResidentArray, residents: Residents) -> pb.ArrayInfo:
    return pb.ArrayInfo(
        id=array.id,
        name=array.name,
        type=type_to_pb(array.type),
        bytes=array.type.nbytes,
        ttl_seconds=array.ttl,
        expires_in_seconds=residents.expires_in_seconds(array),
        age_seconds=residents.age_seconds(array),
    )


STATES: Final = {
    State.QUEUED: pb.JOB_QUEUED,
    State.RUNNING: pb.JOB_RUNNING,
    State.STOPPING: pb.JOB_STOPPING,
    State.SUCCEEDED: pb.JOB_SUCCEEDED,
    State.FAILED: pb.JOB_FAILED,
    State.CANCELLED: pb.JOB_CANCELLED,
    State.EXPIRED: pb.JOB_EXPIRED,
}


def job(job: SubmittedJob, board: Board) -> pb.Job:
    """A submitted job as it is now, without its results."""
    submission, figures, age = job.submission, job.figures, board.ledger.age_seconds(job)
    has_ended, is_queued = job.state.has_ended, job.state is State.QUEUED
    needed, free = board.lack(job) if is_queued else (0, 0)
    return pb.Job(
        id=job.id,
        key=job.key,
        state=STATES[job.state],
        priority=submission.priority,
        age_seconds=age,
        deadline_in_seconds=0.0 if has_ended else max(0.0, submission.deadline_seconds - age),
        position=board.position(job) if is_queued else 0,
        input_bytes=figures.input_bytes,
        received_bytes=figures.received_bytes,
        blocks_done=figures.blocks_done,
        blocks=figures.blocks,
        error=_job_error(job.error) if job.error is not None and job.state is State.FAILED else None,
        times=job_times(job.report) if job.report is not None else None,
        needed_bytes=needed,
        free_bytes=free,
        deadline_seconds=submission.deadline_seconds,
        ttl_seconds=submission.ttl_seconds,
        result_count=len(job.results),
    )


def _job_error(error: ArraymillError) -> pb.JobError:
    return pb.JobError(reason=error.reason, message=error.message, details=error.details)


def tell_workers(info: pb.ServerInfo, status: EngineStatus) -> None:
    info.workers, info.busy_workers = status.workers, status.busy
    info.worker_endings.update(status.endings)
    info.recycled_workers = status.recycled
    info.fenced_workers = status.fenced


def tell_arena(info: pb.ServerInfo, arena: Arena) -> None:
    info.arena_bytes, info.arena_free_bytes = arena.size, arena.free
    info.arena_largest_free_bytes = arena.largest_free
    info.arena_reserved_bytes = arena.leased - arena.resident


def tell_calls(info: pb.ServerInfo, calls: Calls) -> None:
    info.job_calls, info.max_job_calls = calls.jobs.held, calls.jobs.limit
    info.waiting_calls, info.feeding_calls = calls.waits.held, calls.feeds.held
    info.refused_calls = calls.refused
    counts = calls.counts
    info.ended_jobs.update(counts.outcomes)
    info.received_bytes.update(counts.traffic.received)
    info.sent_bytes.update(counts.traffic.sent)
    info.refusals.update(counts.refusals)
    info.loop_lag_seconds = counts.recent_lag_seconds


def server_info(version: str, bulk_port: int) -> pb.ServerInfo:
    """What never changes while a server runs."""
    return pb.ServerInfo(
        version=version,
        protocol=PROTOCOL,
        oldest_protocol=OLDEST_PROTOCOL,
        frame_bytes=FRAME_BYTES,
        message_bytes=MESSAGE_BYTES,
        unary_bytes=UNARY_BYTES,
        max_nodes=MAX_NODES,
        max_dimensions=MAX_DIMENSIONS,
        numpy_version=np.__version__,
        bulk_port=bulk_port,
        max_wait_seconds=MAX_WAIT_SECONDS,
        pipelines=True,
        operations=[
            pb.OperationInfo(
                name=signature.name,
                kind=signature.kind.value,
                min_args=signature.min_args,
                max_args=signature.max_args,
                params=signature.params,
                summary=signature.summary,
            )
            for signature in OPERATIONS.values()
        ],
    )
