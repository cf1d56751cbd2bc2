from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from arraymill_proto.errors import ERRORS, InternalError, Reason, TooLargeError, WorkerError
from arraymill_server.cgroup import Machine
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.describe import TaskFacts
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.outcome import error_of, no_workers, poisonous, too_long, unkillable

FACTS = TaskFacts("sqrt, sum", 1 << 20)
CRASH = Death(Ending.CRASHED, "was ended by SIGSEGV")
KILL = Death(Ending.KILLED, "was ended by SIGKILL")
OUT_OF_MEMORY = Death(Ending.OUT_OF_MEMORY, "was ended by SIGKILL when the kernel found no memory")


def facts() -> TaskFacts:
    return FACTS


def test_a_done_task_has_no_error() -> None:
    assert error_of(Reply(1, 1, 0.0), facts) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.INTERNAL])
def test_every_reason_becomes_its_class(reason: Reason) -> None:
    error = error_of(Reply(1, 1, 0.0, reason, "what happened", {"axis": "3"}), facts)
    assert error is not None
    assert type(error) is ERRORS[reason]
    assert (error.reason, str(error), error.details["axis"]) == (reason, "what happened", "3")


def test_a_defect_is_told_in_the_log_only() -> None:
    with capture_logs() as logs:
        error = error_of(Reply(1, 1, 0.0, Reason.INTERNAL, trace="Traceback: secret"), facts)
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


def test_too_little_private_memory_is_told_with_both_numbers() -> None:
    reply = Reply(1, 1, 0.0, Reason.TOO_LARGE, "needs more private memory", {"available_bytes": "9"})
    error = error_of(reply, facts)
    assert isinstance(error, TooLargeError)
    assert str(error) == "sqrt, sum on a block of 1,048,576 bytes: needs more private memory"
    assert error.details == {"operation": "sqrt, sum", "projected_bytes": "1048576", "available_bytes": "9"}


def test_a_poisonous_task_is_told_with_the_ends_of_its_workers() -> None:
    error = poisonous(FACTS, [CRASH, KILL, CRASH, CRASH])
    assert isinstance(error, WorkerError)
    assert str(error) == (
        "sqrt, sum: 4 workers did not survive a block of the job, so it is not tried again; how they ended: "
        "3 × was ended by SIGSEGV; 1 × was ended by SIGKILL. SIGKILL comes from outside, or from the kernel when "
        "memory is short"
    )
    assert error.details == {"operation": "sqrt, sum", "attempts": "4"}


@pytest.mark.parametrize(
    ("ending", "hint"),
    [
        (Ending.CRASHED, "leaves its traceback"),
        (Ending.OVERRAN, "--task-timeout"),
        (Ending.EXITED, "The server's log may tell more"),
    ],
)
def test_each_ending_has_its_hint(ending: Ending, hint: str) -> None:
    assert hint in str(poisonous(FACTS, [Death(ending, "")]))


def test_what_the_kernel_killed_for_want_of_memory_is_too_large() -> None:
    error = poisonous(FACTS, [OUT_OF_MEMORY] * 3)
    available = Machine.detect().memory_bytes
    assert isinstance(error, TooLargeError)
    assert error.reason is Reason.TOO_LARGE
    assert error.details == {
        "operation": "sqrt, sum",
        "attempts": "3",
        "projected_bytes": "1048576",
        "available_bytes": str(available),
    }
    assert f"may use {available:,} bytes" in str(error)


def test_memory_is_the_reason_where_it_was_for_most_workers() -> None:
    error = poisonous(FACTS, [OUT_OF_MEMORY, CRASH, OUT_OF_MEMORY])
    assert isinstance(error, TooLargeError)
    assert "killed 2 workers" in str(error)
    assert error.details["attempts"] == "3"
    assert isinstance(poisonous(FACTS, [CRASH, OUT_OF_MEMORY]), WorkerError)


def test_what_is_nobody_s_fault_says_what_to_do() -> None:
    assert "could not be killed" in str(unkillable(FACTS, Death(Ending.OVERRAN, "ran longer than 5 s")))
    assert "4 worker processes" in str(no_workers(4))
    assert "split the expression" in str(too_long(1 << 30))
