"""One line of the log for each job. Nothing in it is the client's: no names, no values, no text of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from arraymill_proto.errors import ArraymillError, Reason
from arraymill_server.log import drops_debug, get_logger
from arraymill_server.rpc.status import GONE
from arraymill_server.rpc.tally import Tally

_MANY: Final = (
    ("done", None),
    ("refused", Reason.BUSY),
    ("refused", Reason.SHUTTING_DOWN),
    ("cancelled", Reason.CANCELLED),
)
"""Ends of which there may be thousands in a second."""

_log = get_logger(__name__)


class Passed(Protocol):
    """What a line tells of a job's exchange."""

    @property
    def job_id(self) -> str: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...


@dataclass(slots=True)
class Record:
    """What the line will tell, as far as the job came."""

    event: str = "job"
    """What the line is about."""
    exchange: Passed | None = None
    fed: str = ""
    """The job that the call feeds; empty: it runs one."""
    before: int = 0
    """Bytes that other calls have brought."""
    is_told: bool = True
    """Whether a line is written when all is well; False: the job goes on elsewhere."""

    @property
    def job_id(self) -> str:
        """Empty until the job runs."""
        return self.fed or (self.exchange.job_id if self.exchange else "")

    @property
    def received_bytes(self) -> int:
        """What the call has brought; what was wanted again counts for whoever brought it in the end."""
        return max(0, self.exchange.received_bytes - self.before) if self.exchange else 0

    def feeds(self, id: str, exchange: Passed) -> None:
        """Note which job the call feeds."""
        self.event, self.fed, self.exchange, self.before = "feed", id, exchange, exchange.received_bytes


@contextmanager
def recorded(peer: str, cancelled: Tally) -> Generator[Record]:
    """Log how a job ends: at debug when it is well, was turned away or cancelled, else at info.

    Args:
        peer: The client's address.
        cancelled: Counts jobs whose clients have gone.
    """
    record, begin = Record(), monotonic()
    try:
        yield record
    except (asyncio.CancelledError, *GONE):
        cancelled.add()
        _write(record, peer, begin, "cancelled", Reason.CANCELLED)
        raise
    except Exception as error:
        reason = error.reason if isinstance(error, ArraymillError) else Reason.INTERNAL
        _write(record, peer, begin, "failed" if record.job_id else "refused", reason)
        raise
    if record.is_told:
        _write(record, peer, begin, "done", None)


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
