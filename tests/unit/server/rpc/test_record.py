"""The line of the log that each job leaves: how it ended, and nothing of what is the client's."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from arraymill_proto.errors import (
    ArraymillError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    DeadlineError,
    Reason,
    ShapeError,
)
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.jobs.run import Times
from arraymill_server.metrics.counts import MEMORY, TRANSPORTS, Counts
from arraymill_server.rpc.record import LOOKED_AT, Record, operation_of, recorded
from arraymill_server.rpc.tally import Tally


@dataclass
class Exchange:
    """What a record asks of an exchange."""

    job_id: str = "j7"
    received_bytes: int = 800
    sent_bytes: int = 8
    placed_bytes: int = 0


def any_(exchange: Exchange) -> Any:
    return exchange


def line_of(error: BaseException | None, exchange: Exchange | None, event: str = "job") -> Any:
    """What is logged of a job that came so far and ended so."""

    def work() -> None:
        with recorded("ipv4:10.0.0.1:4711", Tally("jobs cancelled"), Counts()) as record:
            record.event = event
            record.exchange = any_(exchange) if exchange else None
            if error is not None:
                raise error

    with capture_logs() as logs:
        if error is None:
            work()
        else:
            with pytest.raises(type(error)) as caught:
                work()
            assert caught.value is error
    line, *others = sorted(logs, key=lambda entry: entry["event"] == "jobs cancelled")
    assert len(others) == (line["outcome"] == "cancelled")
    return line


def test_a_job_that_is_done() -> None:
    line = line_of(None, Exchange())
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "job",
        "log_level": "debug",
        "id": "j7",
        "peer": "ipv4:10.0.0.1:4711",
        "outcome": "done",
        "reason": "",
        "received_bytes": 800,
        "sent_bytes": 8,
    }


STOPPING = ConnectionFailedError("secret", reason=Reason.SHUTTING_DOWN)

ENDS: list[tuple[BaseException, Exchange | None, tuple[str, str, str]]] = [
    (BusyError("secret"), None, ("debug", "refused", "BUSY")),
    (BusyError("secret"), Exchange(job_id=""), ("debug", "refused", "BUSY")),
    (STOPPING, None, ("debug", "refused", "SHUTTING_DOWN")),
    (ShapeError("secret"), None, ("info", "refused", "SHAPE")),
    (ConnectionFailedError("secret"), None, ("info", "refused", "UNAVAILABLE")),
    (BusyError("secret"), Exchange(), ("info", "failed", "BUSY")),
    (ComputationError("secret", value="secret"), Exchange(), ("info", "failed", "COMPUTATION")),
    (DeadlineError("secret"), Exchange(), ("info", "failed", "DEADLINE")),
    (RuntimeError("secret"), Exchange(), ("info", "failed", "INTERNAL")),
    (RuntimeError("secret"), None, ("info", "refused", "INTERNAL")),
    (asyncio.CancelledError("secret"), Exchange(), ("debug", "cancelled", "CANCELLED")),
    (asyncio.CancelledError("secret"), None, ("debug", "cancelled", "CANCELLED")),
    (grpc.aio.InternalError("secret"), Exchange(), ("debug", "cancelled", "CANCELLED")),
    (grpc.aio.UsageError("secret"), Exchange(), ("debug", "cancelled", "CANCELLED")),
]


@pytest.mark.parametrize(("error", "exchange", "told"), ENDS)
def test_how_a_job_ends(error: BaseException, exchange: Exchange | None, told: tuple[str, str, str]) -> None:
    line = line_of(error, exchange)
    assert (line["log_level"], line["outcome"], line["reason"]) == told
    assert (line["id"], line["received_bytes"]) == ((exchange.job_id, 800) if exchange else ("", 0))
    assert "secret" not in repr(line)


@pytest.mark.parametrize("reason", Reason)
def test_of_any_error_the_reason_is_told(reason: Reason) -> None:
    assert line_of(ArraymillError("secret", reason=reason), Exchange())["reason"] == reason.value


def test_another_event() -> None:
    assert line_of(None, None, "feed")["event"] == "feed"


def test_a_call_that_feeds_tells_which_job_and_what_it_brought_itself() -> None:
    exchange = Exchange(job_id="", received_bytes=500)
    with capture_logs() as logs, recorded("ipv4:10.0.0.1:4711", Tally("jobs cancelled"), Counts()) as record:
        record.feeds("j9", any_(exchange))
        exchange.received_bytes = 800
    assert [(line["event"], line["id"], line["received_bytes"]) for line in logs] == [("feed", "j9", 300)]
    exchange.received_bytes = 400
    assert record.received_bytes == 0, "all that it had brought is wanted again"


def test_a_record_knows_the_job_that_its_exchange_runs() -> None:
    record, exchange = Record(), Exchange(job_id="")
    assert record.job_id == ""
    record.exchange = any_(exchange)
    assert record.job_id == ""
    exchange.job_id = "j8"
    assert record.job_id == "j8"


@pytest.mark.parametrize("error", [None, ComputationError("no"), asyncio.CancelledError()])
def test_results_left_in_shared_memory_count_when_the_job_has_succeeded(error: BaseException | None) -> None:
    counts = Counts()
    quiet = suppress(ArraymillError, asyncio.CancelledError)
    with quiet, recorded("ipv4:10.0.0.1:4711", Tally("jobs cancelled"), counts) as record:
        record.exchange, record.times = any_(Exchange(placed_bytes=8)), Times()
        if error is not None:
            raise error
    assert counts.traffic.sent == {**dict.fromkeys(TRANSPORTS, 0), MEMORY: 8 if error is None else 0}


@pytest.mark.parametrize(("nodes", "label"), [(LOOKED_AT, "put"), (LOOKED_AT + 1, "expression")])
def test_what_a_large_graph_is_counted_as_is_not_looked_for(nodes: int, label: str) -> None:
    assert operation_of(pb.Graph(nodes=[pb.Node(input=pb.Input())] * nodes), is_kept=True) == label


def test_a_large_graph_may_begin_with_inputs() -> None:
    nodes = [pb.Node(input=pb.Input())] * LOOKED_AT
    nodes += [pb.Node(operation=pb.Operation(name="add", args=[number, number])) for number in range(2)]
    assert operation_of(pb.Graph(nodes=nodes)) == "expression"
