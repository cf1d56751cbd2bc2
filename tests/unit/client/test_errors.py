"""Every status and every reason has its exception."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc.aio import Metadata
from unit.client.fake_server import status_bytes

from arraymill._errors import UNEXPLAINED, arraymill_errors, from_rpc_error
from arraymill_proto.errors import (
    ERRORS,
    STATUS,
    ArraymillError,
    AxisError,
    BusyError,
    ConnectionFailedError,
    InternalError,
    InvalidJobError,
    Reason,
    TooLargeError,
)

ADDRESS = "mill:50051"


def rpc_error(code: grpc.StatusCode, text: str = "what happened", status: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = Metadata() if status is None else Metadata(("grpc-status-details-bin", status))
    return grpc.aio.AioRpcError(code, Metadata(), trailing, text)


def explained(error: ArraymillError, **options: float) -> ArraymillError:
    status = status_bytes(error, retry_seconds=options.get("retry_seconds"))
    return from_rpc_error(rpc_error(grpc.StatusCode[STATUS[error.reason]], error.message, status), ADDRESS)


def test_every_status_is_mapped() -> None:
    assert set(UNEXPLAINED) == set(grpc.StatusCode)


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_a_status_without_a_reason(code: grpc.StatusCode) -> None:
    error = from_rpc_error(rpc_error(code), ADDRESS)
    assert type(error) is UNEXPLAINED[code][0]
    assert ADDRESS in str(error)
    assert code is grpc.StatusCode.OK or "what happened" in str(error)
    assert "{" not in str(error)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_becomes_the_class_that_the_server_raised(reason: Reason) -> None:
    error = explained(ERRORS[reason]("it went wrong", reason=reason, axis=3, name="x"))
    assert type(error) is ERRORS[reason]
    assert (error.reason, error.message) == (reason, "it went wrong")
    assert {"axis": "3", "name": "x"}.items() <= error.details.items()


def test_an_axis_error_is_numpys() -> None:
    error = explained(AxisError("axis 3 is out of bounds for array of dimension 2", axis=3, ndim=2))
    assert isinstance(error, AxisError)
    assert (error.axis, error.ndim) == (3, 2)


def test_the_server_says_when_to_try_again() -> None:
    error = explained(BusyError("full"), retry_seconds=2.5)
    assert isinstance(error, BusyError)
    assert error.retry_after == 2.5


@pytest.mark.parametrize("name", ["message", "reason", "self", "retry_after"])
def test_details_cannot_replace_parameters(name: str) -> None:
    for fault in (InvalidJobError("bad"), BusyError("bad")):
        fault.details = {name: "evil", "fine": "1"}
        error = explained(fault)
        assert (type(error), str(error), error.reason) == (type(fault), "bad", fault.reason)
        assert "evil" not in error.details.values()
        assert error.details["fine"] == "1"


STRANGE = {
    "another domain": status_bytes(AxisError("no"), domain="googleapis.com"),
    "no status": b"\xff\xff\xff",
    "no details": b"",
}


@pytest.mark.parametrize("name", STRANGE)
def test_details_that_explain_nothing(name: str) -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT, status=STRANGE[name]), ADDRESS)
    assert type(error) is InvalidJobError


def test_a_reason_of_a_later_version_falls_back_to_the_status() -> None:
    status = status_bytes(AxisError("no")).replace(b"AXIS", b"AXLE")
    error = from_rpc_error(rpc_error(grpc.StatusCode.INVALID_ARGUMENT, status=status), ADDRESS)
    assert type(error) is InvalidJobError


@pytest.mark.parametrize(
    "details", ["CLIENT: Sent message larger than max (9 vs. 8)", "SERVER: Received message larger than max (9 vs. 8)"]
)
def test_a_message_that_is_too_long_is_no_busy_server(details: str) -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, details), "mill:1")
    assert isinstance(error, TooLargeError)
    assert details in str(error)


def test_a_connection_that_breaks_inside_grpc() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL, "Internal error from Core"), ADDRESS)
    assert type(error) is ConnectionFailedError
    assert type(from_rpc_error(rpc_error(grpc.StatusCode.INTERNAL), ADDRESS)) is InternalError


CORE = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("details", "cause"),
    [
        (
            f"{CORE}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: connect: Connection refused (111)",
            "nothing listens there",
        ),
        (f"{CORE}UNAVAILABLE: unix:/x: connect: No such file or directory (2)", "there is no such socket"),
        (
            "DNS resolution failed for nowhere:50051: C-ares status is not ARES_SUCCESS",
            "the name of the host is unknown",
        ),
        (
            "errors resolving nowhere:5: [field:hostname lookup error: Domain name not found]",
            "the name of the host is unknown",
        ),
        (f"{CORE}UNKNOWN: something new", "UNKNOWN: something new"),
    ],
)
def test_nobody_answers(details: str, cause: str) -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, details), ADDRESS)
    assert str(error) == (
        f"no connection to {ADDRESS}: {cause}; is the server running? Start one with: arraymill serve"
    )


def test_the_cause_is_kept() -> None:
    cause = rpc_error(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(ConnectionFailedError) as caught, arraymill_errors(ADDRESS):
        raise cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("error", [grpc.aio.UsageError("Channel is closed."), asyncio.InvalidStateError()])
def test_a_closed_channel(error: Exception) -> None:
    with pytest.raises(ConnectionFailedError, match=f"the client of {ADDRESS} is closed"), arraymill_errors(ADDRESS):
        raise error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), FileNotFoundError(Path("x"))])
def test_everything_else_passes(error: BaseException) -> None:
    with pytest.raises(type(error)), arraymill_errors(ADDRESS):
        raise error
