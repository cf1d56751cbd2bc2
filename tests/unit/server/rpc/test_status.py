"""What crosses the wire of an error, and what stays in the log."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from structlog.testing import capture_logs

from arraymill_proto.errors import (
    ERRORS,
    STATUS,
    BusyError,
    ConnectionFailedError,
    InternalError,
    Reason,
)
from arraymill_server.engine.base import EngineStartError
from arraymill_server.rpc.status import declared, status_of


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_status(reason: Reason) -> None:
    status: Any = status_of(ERRORS[reason]("message", reason=reason, number=7))
    assert status.code is grpc.StatusCode[STATUS[reason]]
    packed = status_pb2.Status.FromString(dict(status.trailing_metadata)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert packed.details[0].Unpack(info)
    assert (status.details, info.reason, info.metadata["number"]) == ("message", reason.value, "7")


def test_a_declared_error_crosses_as_it_is() -> None:
    error = BusyError("full")
    with capture_logs() as logs:
        assert declared(error, method="run") is error
    assert logs == []


@pytest.mark.parametrize("error", [RuntimeError("secret"), InternalError("secret")])
def test_a_defect_crosses_as_an_id(error: Exception) -> None:
    with capture_logs() as logs:
        seen = declared(error, method="run")
    assert isinstance(seen, InternalError)
    assert [entry["error_id"] for entry in logs] == [seen.details["error_id"]]
    assert "secret" not in str(seen)


def test_an_error_that_bears_an_id_gets_no_second_one() -> None:
    error = InternalError("a defect, see 123", error_id="123")
    with capture_logs() as logs:
        assert declared(error, method="run") is error
    assert logs == []


def test_a_lack_of_workers_can_be_tried_again() -> None:
    with capture_logs() as logs:
        seen = declared(EngineStartError("the last one exited with code 3; check the limits"), method="run")
    assert isinstance(seen, ConnectionFailedError)
    assert "try again" in str(seen)
    assert "code 3" not in str(seen)
    assert logs[0]["error"] == "the last one exited with code 3; check the limits"
