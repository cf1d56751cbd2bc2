"""What becomes of a task that did not end well: the typed error that fails it, and what the log must know."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from arraymill_proto.errors import ERRORS, ArraymillError, InternalError, Reason, TooLargeError, WorkerError
from arraymill_server.cgroup import Machine
from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.describe import TaskFacts
from arraymill_server.engine.messages import REQUEST_BYTES, Reply
from arraymill_server.log import get_logger

_log = get_logger(__name__)

_HINTS: Final = {
    Ending.OUT_OF_MEMORY: "Memory is short: run the job when less is going on, or give the server more memory",
    Ending.KILLED: "SIGKILL comes from outside, or from the kernel when memory is short",
    Ending.CRASHED: "A crash of native code leaves its traceback in the server's log",
    Ending.OVERRAN: "The time limit of a task is an option of the server (--task-timeout)",
}
"""What an ending says besides."""


def error_of(reply: Reply, facts: Callable[[], TaskFacts]) -> ArraymillError | None:
    """Return the error of a reply, None when the task is done. Logs what the client must not see.

    Args:
        reply: What the worker said.
        facts: Tells what the task was doing.
    """
    if reply.reason is None:
        return None
    if reply.reason is Reason.INTERNAL:
        error_id = secrets.token_hex(6)
        _log.error("task_failed", error_id=error_id, operation=facts().operation, traceback=reply.trace)
        return InternalError(
            f"a defect of the server ended the job; the server's log tells more under error id {error_id}",
            error_id=error_id,
        )
    error = ERRORS[reply.reason](reply.text, reason=reply.reason, **reply.details)
    return _with_projection(error, facts()) if "available_bytes" in reply.details else error


def _with_projection(error: ArraymillError, facts: TaskFacts) -> ArraymillError:
    """Add to a lack of private memory what the task was about."""
    return error.located(
        f"{facts.operation} on a block of {facts.nbytes:,} bytes: ",
        operation=facts.operation,
        projected_bytes=facts.nbytes,
    )


def poisonous(facts: TaskFacts, deaths: Sequence[Death]) -> ArraymillError:
    """Return the error of a task that no worker survives.

    Memory is the reason where it was for most of them: a task that takes what there is also slows the machine down, and
    may come to its time limit first.

    Args:
        facts: What the task does.
        deaths: How the workers ended that died running it; at least one.
    """
    endings = {death.ending for death in deaths}
    short = sum(death.ending is Ending.OUT_OF_MEMORY for death in deaths)
    if 2 * short > len(deaths):
        return _out_of_memory(facts, short, len(deaths))
    causes = "; ".join(f"{times} × {cause}" for cause, times in Counter(death.cause for death in deaths).items())
    hint = next((text for ending, text in _HINTS.items() if ending in endings), "The server's log may tell more")
    return WorkerError(
        f"{facts.operation}: {len(deaths)} workers did not survive a block of the job, so it is not tried again; "
        f"how they ended: {causes}. {hint}",
        operation=facts.operation,
        attempts=len(deaths),
    )


def _out_of_memory(facts: TaskFacts, killed: int, attempts: int) -> TooLargeError:
    available = Machine.detect().memory_bytes
    return TooLargeError(
        f"{facts.operation} on a block of {facts.nbytes:,} bytes: the kernel found no memory for it and killed "
        f"{killed} workers, so it is not tried again; server and workers together may use {available:,} bytes. "
        f"{_HINTS[Ending.OUT_OF_MEMORY]}",
        operation=facts.operation,
        attempts=attempts,
        projected_bytes=facts.nbytes,
        available_bytes=available,
    )


def unkillable(facts: TaskFacts, death: Death) -> WorkerError:
    """Return the error of a task whose worker cannot be killed."""
    return WorkerError(
        f"{facts.operation}: the worker of a block of the job {death.cause} and could not be killed: it waits in the "
        "kernel of the server's machine, for a disk or a driver. Another worker is in its place; submit the job again",
        operation=facts.operation,
        attempts=1,
    )


def no_workers(fenced: int) -> EngineStartError:
    """Return the error of all tasks when every worker that could be is in the kernel's hands."""
    return EngineStartError(
        f"{fenced} worker processes of the server cannot be killed, and it starts no more of them; the kernel of its "
        "machine is in trouble: its log tells more"
    )


def too_long(request_bytes: int) -> TooLargeError:
    """Return the error of a task whose request fits no message."""
    return TooLargeError(
        f"a block of the job reads too many arrays at once: its task takes {request_bytes:,} bytes, and a message "
        f"holds {REQUEST_BYTES:,}; split the expression",
        limit_bytes=REQUEST_BYTES,
    )
