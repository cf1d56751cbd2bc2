"""How jobs end: a line of the log for each, and a count. Nothing in them is the client's: no names, no values."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from arraymill_proto.catalogue import OPERATIONS
from arraymill_proto.errors import ArraymillError, Reason
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.run import Times
from arraymill_server.log import drops_debug, get_logger
from arraymill_server.metrics.counts import (
    CANCELLED,
    EXPRESSION,
    FAILED,
    MEMORY,
    SUCCEEDED,
    UNKNOWN,
    Counts,
    operation_label,
)
from arraymill_server.rpc.status import GONE
from arraymill_server.rpc.tally import Tally

_MANY: Final = (
    ("done", None),
    ("refused", Reason.BUSY),
    ("refused", Reason.SHUTTING_DOWN),
    ("cancelled", Reason.CANCELLED),
)
"""Ends of which there may be thousands in a second."""

JOB: Final = "job"
"""What the line of a job is called; that of a call which feeds one has another name."""

LOOKED_AT: Final = 64
"""Nodes of a graph that are looked at to tell what its job is counted as: one of more has several operations."""

_log = get_logger(__name__)


class Passed(Protocol):
    """What a line tells of a job's exchange."""

    @property
    def job_id(self) -> str: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...
    @property
    def placed_bytes(self) -> int: ...


@dataclass(slots=True)
class Record:
    """What the line will tell, as far as the job came."""

    event: str = JOB
    """What the line is about."""
    exchange: Passed | None = None
    fed: str = ""
    """The job that the call feeds; empty: it runs one."""
    before: int = 0
    """Bytes that other calls have brought."""
    is_told: bool = True
    """Whether a line is written when all is well; False: the job goes on elsewhere."""
    operation: str = UNKNOWN
    """What the job is counted as."""
    times: Times | None = None
    """Its times, when all is well; None: it has none, or is counted elsewhere."""

    @property
    def job_id(self) -> str:
        """Empty until the job runs."""
        return self.fed or (self.exchange.job_id if self.exchange else "")

    @property
    def is_job(self) -> bool:
        """Whether the call's end is that of a job."""
        return self.event == JOB

    @property
    def received_bytes(self) -> int:
        """What the call has brought; what was wanted again counts for whoever brought it in the end."""
        return max(0, self.exchange.received_bytes - self.before) if self.exchange else 0

    def feeds(self, id: str, exchange: Passed) -> None:
        """Note which job the call feeds."""
        self.event, self.fed, self.exchange, self.before = "feed", id, exchange, exchange.received_bytes


@contextmanager
def recorded(peer: str, cancelled: Tally, counts: Counts) -> Generator[Record]:
    """Log and count how a job ends: the line is at debug when it is well, was turned away or cancelled, else at info.

    Args:
        peer: The client's address.
        cancelled: Counts jobs whose clients have gone.
        counts: Where its end is counted.
    """
    record, begin = Record(), monotonic()
    try:
        yield record
    except (asyncio.CancelledError, *GONE):
        cancelled.add()
        if record.is_job:
            counts.ended(record.operation, CANCELLED)
        _write(record, peer, begin, "cancelled", Reason.CANCELLED)
        raise
    except Exception as error:
        _count_error(counts, record, _reason_of(error))
        _write(record, peer, begin, "failed" if record.job_id else "refused", _reason_of(error))
        raise
    if record.is_told:
        if record.times is not None:
            counts.ended(record.operation, SUCCEEDED)
            counts.took(record.times)
            counts.traffic.sent[MEMORY] += record.exchange.placed_bytes if record.exchange else 0
        _write(record, peer, begin, "done", None)


@contextmanager
def refusing(counts: Counts, operation: str | None = None) -> Generator[None]:
    """Count an error as a refusal: for calls that run no jobs, and for what comes before a job.

    Args:
        counts: Where it is counted.
        operation: What the job is counted as that it refuses; None: it refuses no job.
    """
    try:
        yield
    except GONE:
        raise
    except Exception as error:
        if operation is None:
            counts.refused(_reason_of(error))
        else:
            counts.turned_away(operation, _reason_of(error))
        raise


def operation_of(graph: pb.Graph, *, is_kept: bool = False) -> str:
    """Return what the job of a graph is counted as, whatever the client has written there."""
    if len(graph.nodes) > LOOKED_AT:
        return EXPRESSION
    names = [node.operation.name for node in graph.nodes if node.HasField("operation")]
    return operation_label(names, OPERATIONS, is_kept=is_kept)


def _reason_of(error: Exception) -> Reason:
    return error.reason if isinstance(error, ArraymillError) else Reason.INTERNAL


def _count_error(counts: Counts, record: Record, reason: Reason) -> None:
    if record.job_id:
        if record.is_job:
            counts.ended(record.operation, FAILED)
    elif record.is_job:
        counts.turned_away(record.operation, reason)
    else:
        counts.refused(reason)


def _write(record: Record, peer: str, begin: float, outcome: str, reason: Reason | None) -> None:
    is_one_of_many = (outcome, reason) in _MANY
    if is_one_of_many and drops_debug():
        return
    exchange, log = record.exchange, _log.debug if is_one_of_many else _log.info
    log(
        record.event,
        id=record.job_id,
        peer=peer,
        outcome=outcome,
        reason=reason.value if reason else "",
        received_bytes=record.received_bytes,
        sent_bytes=exchange.sent_bytes if exchange else 0,
        seconds=round(monotonic() - begin, 6),
    )
