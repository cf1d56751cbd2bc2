from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from arraymill_proto.errors import ERRORS, InternalError, Reason
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.outcome import error_of


def test_a_done_task_has_no_error() -> None:
    assert error_of(Reply(1, 1, 0.0), str) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.INTERNAL])
def test_every_reason_becomes_its_class(reason: Reason) -> None:
    error = error_of(Reply(1, 1, 0.0, reason, "what happened", {"axis": "3"}), str)
    assert error is not None
    assert type(error) is ERRORS[reason]
    assert (error.reason, str(error), error.details["axis"]) == (reason, "what happened", "3")


def test_a_defect_is_told_in_the_log_only() -> None:
    with capture_logs() as logs:
        error = error_of(Reply(1, 1, 0.0, Reason.INTERNAL, trace="Traceback: secret"), lambda: "sqrt, sum")
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)
    assert error.details["error_id"] in str(error)
    assert logs == [
        {
            "event": "task_failed",
            "log_level": "error",
            "error_id": error.details["error_id"],
            "operation": "sqrt, sum",
            "traceback": "Traceback: secret",
        }
    ]
